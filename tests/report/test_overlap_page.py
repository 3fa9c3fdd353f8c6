"""The overlap page: escaped, self-contained, and working in a browser."""

import re
from pathlib import Path

import pytest
from browser import needs_browser, opened
from checkpoints import Folders, tiny_llama

from weightlens.report.overlap_page import write_overlap_page
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport

_PROBE = """
window.addEventListener('load', () => setTimeout(() => {
  const column = () => [...document.querySelectorAll('table.sortable tbody tr')]
    .map(row => Number(row.cells[3].dataset.value));
  const button = document.querySelectorAll('table.sortable th button')[3];
  button.click();
  const up = column();
  button.click();
  const down = column();
  const plot = document.getElementById('grid-0');
  const drag = plot.querySelector('.nsewdrag'), box = drag.getBoundingClientRect();
  drag.dispatchEvent(new MouseEvent('mousemove', {
    bubbles: true, clientX: box.left + 0.4 * box.width, clientY: box.top + 0.6 * box.height}));
  setTimeout(() => { document.title = JSON.stringify({
    up: up.every((v, i) => i === 0 || up[i - 1] <= v),
    down: down.every((v, i) => i === 0 || down[i - 1] >= v),
    rows: up.length, hover: plot.querySelector('.hoverlayer').textContent}); }, 500);
}, 500));
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> OverlapReport:
    folders: Folders = tiny_llama(tmp_path_factory.mktemp("models"))
    return measure_overlap(folders.base, [folders.full, folders.adapter])


def test_the_page_needs_no_network_and_escapes_names(report: OverlapReport, tmp_path: Path) -> None:
    odd = report.models[0].model_copy(update={"model": "<script>alert(1)</script>"})
    write_overlap_page(report.model_copy(update={"models": [odd]}), tmp_path / "o.html")
    text = (tmp_path / "o.html").read_text()
    assert "<script>alert(1)" not in text
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.findall(r"""(?:src|href)=["']?https?:""", own)


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_sorts_and_hovers_without_an_error(
    report: OverlapReport, tmp_path: Path, width: int
) -> None:
    import html
    import json

    page = tmp_path / "o.html"
    write_overlap_page(report, page)
    page.write_text(page.read_text().replace("</body>", f"<script>{_PROBE}</script></body>"))
    shown = opened(page, width=width, profile=tmp_path / "profile")
    assert "CONSOLE" not in shown.log
    found = re.search(r"<title>(.*?)</title>", shown.dom)
    assert found is not None
    told = json.loads(html.unescape(found[1]))
    assert told["up"] is True
    assert told["down"] is True
    assert told["rows"] == 28
    assert "× chance" in told["hover"]
