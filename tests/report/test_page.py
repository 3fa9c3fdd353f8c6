"""Pages and tables from a story: self-contained, escaped, and without errors in a browser."""

import re
from pathlib import Path

import pytest
from browser import needs_browser, opened
from rich.console import Console

from weightlens.evaluate.builtin import OVER_REFUSAL, REASONING, REFUSAL
from weightlens.evaluate.scored import task_result
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.report.sentences import findings
from weightlens.report.static import write_story_figure
from weightlens.report.story import Curve, Point, Row, Story, frontier
from weightlens.report.story_page import write_story_page
from weightlens.report.story_tables import story_tables
from weightlens.survey.overlap import measure_overlap


def row(name: str, kind: str, reasoning: float, refusal: float) -> Row:
    scores = [[1.0] * round(100 * v) + [0.0] * round(100 * (1 - v)) for v in (reasoning, refusal)]
    return Row(
        name=name, kind=kind, weight=None if kind == "model" else 0.75,  # type: ignore[arg-type]
        reasoning=task_result(REASONING, scores[0]), refusal=task_result(REFUSAL, scores[1]),
        over_refusal=task_result(OVER_REFUSAL, [0.0] * 50),
    )  # fmt: skip


@pytest.fixture(scope="module")
def story() -> Story:
    tuned = [SHIPPED / "safe-full", SHIPPED / "safe-lora"]
    points = [Point(weight=w, refusal=w, reasoning=1 - w / 2) for w in (0.3, 0.6, 0.9)]
    return Story(
        weightlens="0", wanted_refusal=0.9,
        rows=[row("base", "model", 0.98, 0), row("safe-full", "model", 0.7, 1),
              row("safe-lora", "model", 0.8, 1), row("scaling only", "merge", 0.85, 0.9),
              row("random column", "control", 0.8, 0.9), row("<b>", "written", 0.9, 0.9)],
        curves=[Curve(name="scaling only", points=points)],
        overlap=measure_overlap(SHIPPED / "base", tuned),
        control=measure_overlap(SHIPPED / "base", tuned, control=SHIPPED / "unrelated"),
        chosen="scaling only", recipe="merge_method: </script><script>alert(1)</script>",
        strips=[], seconds=1.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "demo.html"
    write_story_page(story, file)
    return file


def test_the_frontier_keeps_what_no_other_beats_in_both() -> None:
    a, b, c = (Point(weight=0, refusal=x, reasoning=y)
               for x, y in ((0.1, 0.9), (0.5, 0.8), (0.4, 0.7)))  # fmt: skip
    assert frontier([Curve(name="x", points=[a, b]), Curve(name="y", points=[c])]) == [a, b]


def test_the_page_needs_no_network(page: Path) -> None:
    own = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.S)
    assert not re.findall(r"""(?:src|href)=["']?https?:""", own)
    assert "<link" not in own.replace("<link rel='icon' href='data:,'>", "")


def test_text_from_models_and_recipes_is_escaped(page: Path) -> None:
    text = page.read_text()
    assert "<script>alert(1)" not in text
    assert "&lt;b&gt;" in text


def test_sentences_follow_the_numbers(story: Story) -> None:
    lines = "\n".join(findings(story))
    assert "safe-full refuses 100.0 %" in lines
    assert "28.0 points below the base" in lines


def test_the_terminal_shows_every_row(story: Story) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))
    console.print(*story_tables(story, Path("out")))
    shown = console.export_text()
    assert all(r.name in shown for r in story.rows)


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_interval_is_broken_in_any_width(story: Story, width: int) -> None:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(*story_tables(story, Path("out")), sep="\n")
    table = console.export_text().split("·")[0]
    assert max(map(len, table.splitlines())) <= width
    for said in ("98.0 [93.0, 99.4]", "over-refusal", "reasoning", "vs scaling"):
        assert said in table


def test_the_static_figure_is_the_same_bytes_every_time(story: Story, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_story_figure(story, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@needs_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_draws_every_figure_without_an_error(
    page: Path, tmp_path: Path, width: int
) -> None:
    shown = opened(page, width=width, profile=tmp_path)
    assert shown.dom.count('class="main-svg"') >= 4
    assert "CONSOLE" not in shown.log
