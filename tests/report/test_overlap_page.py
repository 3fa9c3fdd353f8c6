"""The overlap page: escaped, self-contained, and working in a browser."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from browser import needs_browser, opened
from checkpoints import Folders, tiny_llama
from samples import everything, model, report, rounded, training

from weightlens.report.overlap_page import overlap_sentences, write_overlap_page
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport

_PROBE = """
const told = {}, $ = selector => document.querySelector(selector);
const wait = () => new Promise(resolve => setTimeout(resolve, 400));
const shownRows = () => [...document.querySelectorAll('table.sortable tbody tr')]
  .filter(row => !row.hidden);
const ink = () => $('#grid-0-column .xtick text').style.fill;
window.addEventListener('load', async () => {
  await wait();
  told.width = innerWidth;
  told.tooWide = [document.documentElement, ...document.querySelectorAll('.main-svg')]
    .filter(e => e.scrollWidth > innerWidth).length;
  const button = document.querySelectorAll('table.sortable th button')[3];
  const column = () => shownRows().map(row => Number(row.cells[3].dataset.value));
  button.click();
  told.up = column().every((v, i, all) => i === 0 || all[i - 1] <= v);
  button.click();
  told.down = column().every((v, i, all) => i === 0 || all[i - 1] >= v);

  const input = $('input[type=search]'), rows = shownRows().length;
  const typed = text => {
    input.value = text;
    input.dispatchEvent(new Event('input'));
    return shownRows().length;
  };
  told.rows = [rows, typed('LAYERS.0. key'), typed('nothing has this name'), typed('')];

  const drag = $('#grid-0-column .nsewdrag'), box = drag.getBoundingClientRect();
  drag.dispatchEvent(new MouseEvent('mousemove', {
    bubbles: true, clientX: box.left + 0.4 * box.width, clientY: box.top + 0.6 * box.height}));
  await wait();
  told.hover = $('#grid-0-column .hoverlayer').textContent;

  const legend = $('.legend[data-figures~=layers-row]');
  const chip = name => [...legend.querySelectorAll('button')].find(b => b.dataset.key === name);
  const lines = () => document.getElementById('layers-row').data.filter(t => t.visible).length;
  told.lines = [lines()];
  if (chip('o_proj')) {
    chip('o_proj').click();
    told.lines.push(lines());
    chip('down_proj').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}));
    told.lines.push(lines());
  }
  const fold = $('details:not([open])');
  if (fold) {
    fold.open = true;
    await wait();
    told.unfolded = fold.querySelector('.main-svg').getBoundingClientRect().width
      <= fold.getBoundingClientRect().width;
  }
  const before = [ink(), getComputedStyle(document.body).backgroundColor];
  $('button.theme').click();
  await wait();
  const after = [ink(), getComputedStyle(document.body).backgroundColor];
  told.themes = [before, after, $('button.theme').textContent];
  document.title = JSON.stringify(told);
});
"""


@pytest.fixture(scope="module")
def measured_report(tmp_path_factory: pytest.TempPathFactory) -> OverlapReport:
    folders: Folders = tiny_llama(tmp_path_factory.mktemp("models"))
    return measure_overlap(folders.base, [folders.full, folders.adapter])


def written(shown: OverlapReport, folder: Path) -> str:
    write_overlap_page(shown, folder / "o.html")
    return (folder / "o.html").read_text()


def own_part(page: str) -> str:
    return re.sub(r"<script>.*?</script>", "", page, flags=re.S)


def used(shown: OverlapReport, folder: Path, width: int) -> dict[str, Any]:
    """What a browser finds when the page is used; it must say nothing on its console."""
    page = folder / "o.html"
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')
    text = policy.sub("", written(shown, folder))  # it would let no probe run
    page.write_text(text.replace("</body>", f"<script>{_PROBE}</script></body>"))
    seen = opened(page, width=width, profile=folder / "profile")
    assert "CONSOLE" not in seen.log
    found = re.search(r"<title>(.*?)</title>", seen.dom)
    assert found is not None
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


def test_the_page_needs_no_network_and_escapes_names(
    measured_report: OverlapReport, tmp_path: Path
) -> None:
    odd = measured_report.models[0].model_copy(update={"model": "<script>alert(1)</script>"})
    text = written(measured_report.model_copy(update={"models": [odd]}), tmp_path)
    assert "<script>alert(1)" not in text
    assert not re.findall(r"""(?:src|href)=["']?https?:""", own_part(text))


def test_a_plain_report_has_no_empty_sections(
    measured_report: OverlapReport, tmp_path: Path
) -> None:
    text = own_part(written(measured_report, tmp_path))
    assert "Models side by side" in text
    for heading in ("Over training", "Overlap against k", "Experts in aggregate", "interrupted"):
        assert heading not in text


def test_everything_that_a_report_holds_is_on_the_page(tmp_path: Path) -> None:
    text = written(everything().model_copy(update={"partial": True}), tmp_path)
    own = own_part(text)
    for heading in ("Over training", "Overlap against k", "Experts in aggregate"):
        assert heading in own
    assert "interrupted: 16 matrices" in own
    assert "12 by the partial path, 1 fell back to the exact one, 3 from the cache" in own
    assert "<span class='badge'>query</span>" in own
    assert '"qkv_proj.query"' in text


def test_a_delta_that_is_mostly_rounding_is_warned_of_on_top(tmp_path: Path) -> None:
    shown = report([rounded("<b>", 2.43), model("m")])
    own = own_part(written(shown, tmp_path))
    alarm = "<p class='alarm' role='alert'>Warning: rounding to the file&#x27;s dtype explains "
    assert own.count(f"{alarm}most of the delta of &lt;b&gt; (243 %)") == 1
    assert own.count("say little about what was learned") == 1
    # where it is part of a greater page it stands among the sentences
    assert overlap_sentences(shown)[0].startswith("Warning: rounding to the file's dtype")


def test_of_many_models_all_but_two_are_folded_up(tmp_path: Path) -> None:
    own = own_part(written(report(training(range(100, 700, 100))), tmp_path))
    assert own.count("<details open>") == 2
    assert own.count("<details>") == 4


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_uses_the_whole_page_without_an_error(tmp_path: Path, width: int) -> None:
    told = used(everything(), tmp_path, width)
    assert told["width"] == width
    assert told["tooWide"] == 0
    assert told["up"] is True
    assert told["down"] is True
    assert told["rows"] == [72, 2, 0, 72]
    assert re.search(r"layer 2, .*× chance \(overlap .*, chance .*, z", told["hover"])
    # four whole modules of two models; then three; then one
    assert told["lines"] == [8, 6, 2]
    (ink, back), (other_ink, other_back), button = told["themes"]
    assert ink != other_ink
    assert back != other_back
    assert button in ("Light theme", "Dark theme")


@needs_browser
def test_a_browser_draws_measured_models_and_unfolds_checkpoints(
    measured_report: OverlapReport, tmp_path: Path
) -> None:
    told = used(measured_report, tmp_path, 1440)
    assert told["rows"][0] == 28
    assert told["lines"][0] == 14
    checkpoints = [*training(range(100, 600, 100)), model("other")]
    assert used(report(checkpoints), tmp_path, 1440)["unfolded"] is True
