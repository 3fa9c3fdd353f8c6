"""Every page that the project writes, opened in a browser as a reader would: at the width of a
phone and of a desk, in both themes, by keyboard."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from browser import needs_browser
from devtools import Tab, browsing
from reported import write_everything
from samples import everything
from test_page import row

from weightlens.report.overlap_page import write_overlap_page
from weightlens.report.report_page import write_report_page
from weightlens.report.runs import read_runs
from weightlens.report.samples_page import write_samples_page
from weightlens.report.story import Curve, Point, Story
from weightlens.report.story_page import write_story_page
from weightlens.report.subject import subject_of

Maker = Callable[[Path], Path]
Pages = Callable[[Maker], Path]

_WIDTHS, _THEMES = (390, 1440), ("light", "dark")

_LEVELS = "[...document.querySelectorAll('h1,h2,h3,h4,h5')].map(h => Number(h.tagName[1]))"
_TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
_FOCUSED = """(() => {
  const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
  return [at.tagName, at.className, at.getAttribute('href'), style.outlineStyle !== 'none'
    || style.borderStyle !== 'none', box.right > 0 && box.bottom > 0 && box.top < innerHeight];
})()"""


def overlap_page(folder: Path) -> Path:
    write_overlap_page(everything(), folder / "overlap.html")
    return folder / "overlap.html"


def report_page(folder: Path) -> Path:
    write_report_page(subject_of(read_runs(write_everything(folder))), folder / "report.html")
    return folder / "report.html"


def bare_report_page(folder: Path) -> Path:
    (folder / "o.json").write_text(everything().to_json())
    write_report_page(subject_of(read_runs([folder / "o.json"])), folder / "bare.html")
    return folder / "bare.html"


def samples_page(folder: Path) -> Path:
    (run,) = (r for r in read_runs(write_everything(folder)) if r.kind == "eval")
    write_samples_page(run.report, folder / "evaluation", folder / "eval.html")  # type: ignore[arg-type]
    return folder / "eval.html"


def story_page(folder: Path) -> Path:
    points = [Point(weight=w, refusal=w, reasoning=1 - w / 2) for w in (0.3, 0.6, 0.9)]
    rows = [row("base", "model", 0.98, 0), row("safe-full", "model", 0.7, 1),
            row("safe-lora", "model", 0.8, 1), row("scaling only", "merge", 0.85, 0.9)]  # fmt: skip
    story = Story(
        weightlens="0", wanted_refusal=0.9, rows=rows,
        curves=[Curve(name="scaling only", points=points)], overlap=everything(),
        control=everything(), chosen="scaling only", recipe="merge_method: linear", strips=[],
        seconds=1.0,
    )  # fmt: skip
    write_story_page(story, folder / "demo.html")
    return folder / "demo.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Each page is written once."""
    return cache(lambda make: make(tmp_path_factory.mktemp("page")))


_PAGES = (overlap_page, samples_page, story_page, report_page, bare_report_page)


@needs_browser
@pytest.mark.parametrize("make", _PAGES)
def test_a_page_fits_the_window_in_both_themes_and_says_nothing_on_its_console(
    make: Maker, tab: Tab, pages: Pages
) -> None:
    page = pages(make)
    backgrounds = set()
    for width in _WIDTHS:
        tab.open(page, width=width)
        for theme in _THEMES:
            tab.choose(theme)
            assert not tab.value(_TOO_WIDE), (width, theme)
            backgrounds.add(tab.value("getComputedStyle(document.body).backgroundColor"))
            assert tab.errors == []
            assert tab.requests == []
    assert len(backgrounds) == len(_THEMES)
    levels = tab.value(_LEVELS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    # no level is left out on the way down
    assert all(after <= before + 1 for before, after in pairwise(levels))


@needs_browser
@pytest.mark.parametrize("make", _PAGES)
def test_a_keyboard_skips_to_the_content_and_reaches_the_sections(
    make: Maker, tab: Tab, pages: Pages
) -> None:
    tab.open(pages(make), width=390)
    tab.press("Tab")
    tag, kind, target, outlined, visible = tab.value(_FOCUSED)
    assert (tag, kind, target) == ("A", "skip", "#main")
    assert outlined and visible
    tab.press("Tab")
    assert tab.value(_FOCUSED)[1] == "theme"
    links = tab.value("[...document.querySelectorAll('nav[aria-label=sections] a')].length")
    for _ in range(links):
        tab.press("Tab")
        tag, _, target, outlined, visible = tab.value(_FOCUSED)
        assert tag == "A" and target.startswith("#section-")
        assert outlined and visible
    if links:
        tab.press("Enter")
        assert tab.value("location.hash") == target
        at = f"document.getElementById('{target[1:]}').getBoundingClientRect().top"
        assert tab.value(f"{at} < innerHeight")
    assert tab.errors == []


@needs_browser
def test_samples_on_a_report_can_be_filtered_and_harmful_answers_stay_folded(
    tab: Tab, pages: Pages
) -> None:
    tab.open(pages(report_page), width=1440)
    assert tab.value("document.getElementById('b').value") == "merged"
    count = "document.getElementById('count').textContent"
    assert tab.value(count) == "40 of 40 questions, 80 of 80 draws"
    choose = "(() => {{ const m = document.getElementById('{}'); m.value = '{}'; {} }})()"
    tell = "m.dispatchEvent(new Event('change'));"
    tab.value(choose.format("task", 1, tell))
    assert tab.value(count).startswith("80 of 80 questions")
    tab.value(choose.format("group", "unsafe", tell))
    assert tab.value(count) == "40 of 80 questions, 80 of 160 draws"
    tab.value("document.getElementById('unfold').click()")
    shown = tab.value("document.getElementById('questions').innerText")
    assert "secret powder" not in shown
    assert "Folded: an answer to a harmful request that was not refused" in shown
    assert tab.errors == []
