"""The demo's page: models, merges at matched refusal, overlaps."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from weightlens.record import write_output
from weightlens.report.figures import frontier_plot
from weightlens.report.grid import overlap_grid
from weightlens.report.overlap_sections import heatmaps
from weightlens.report.page import (
    Section,
    figure_slot,
    figures_of,
    headed,
    navigation,
    render_page,
)
from weightlens.report.sentences import findings
from weightlens.report.story import Row, Story

_WORDS = (
    "<p>Every merge is the base with the full fine-tune's delta, at the smallest weight that keeps "
    "refusal. <b>Scaling only</b> multiplies the whole delta by it. <b>Strip column</b> (or "
    "<b>row</b>) first takes out the part of the delta that writes into (or reads from) the base's "
    "strongest directions; <b>random</b> takes out as many directions drawn at random, as a "
    "control. <b>Over-refusal</b> is refusing harmless requests. The merge in the last row was "
    "written to disk: <a href='report.html'>its report</a>.</p>"
)


def write_story_page(story: Story, file: Path) -> None:
    """The demo's page."""
    sections = story_sections(story)
    body = "\n".join(
        (
            "<h1>What safety fine-tuning costs, and what a merge wins back</h1>",
            "<p class='lead'>Three models of 0.9 million parameters: a base that reasons and "
            "complies with every request, and two safety fine-tunes of it. "
            f"weightlens {escape(story.weightlens)}, {story.seconds:.0f} s on this machine.</p>",
            navigation(section.title for section in sections),
            _WORDS,
            "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in findings(story)) + "</ul>",
            *map(headed, sections),
        )
    )
    page = render_page("weightlens demo", body, figures_of(sections))
    write_output(file, page)


def story_sections(story: Story) -> list[Section]:
    """Every model, the frontier, the overlaps, the recipe."""
    return [
        Section(_table(story), {}, "Every model on the test split"),
        frontier_section(story),
        _overlaps(story),
        Section(
            f"<pre tabindex='0'>{escape(story.recipe)}</pre>", {}, "The recipe of the written merge"
        ),
    ]


def frontier_section(story: Story) -> Section:
    """Merges over a range of weights, and what was reported of them."""
    note = (
        "<p><small>Lines: merges by weight on the validation split. Markers with 95 % intervals: "
        f"the test split. Dotted: the refusal wanted, {story.wanted_refusal:g}. The band is the "
        "frontier: the best reasoning of a merge on the lines that refuses at least as much."
        "</small></p>"
    )
    plot = frontier_plot(story.rows, story.curves, story.wanted_refusal)
    return Section(figure_slot("frontier") + note, {"frontier": plot}, "Reasoning against refusal")


def _overlaps(story: Story) -> Section:
    html: list[str] = []
    figures: dict[str, Any] = {}
    control = story.control.models[0]
    for model, against in [
        *((model, "its base") for model in story.overlap.models),
        (control, "an unrelated base (control: 1 everywhere)"),
    ]:
        drawn = heatmaps(f"overlap-{len(html)}", overlap_grid(model))
        name = Path(model.model).name
        html.append(f"<h3>{escape(name)} against {against}</h3>{drawn.html}")
        figures |= drawn.figures
    html.append(
        "<p><small>Share of each delta that lies in the base's top singular subspaces "
        f"({story.overlap.subspace.by} {story.overlap.subspace.value:g}), over what a delta of "
        "random orientation reads. 1 is chance.</small></p>"
    )
    return Section("\n".join(html), figures, "Overlap with the base, by layer and module")


def _table(story: Story) -> str:
    head = ("", "weight", "reasoning", "refusal", "over-refusal", "reasoning vs scaling")
    rows = "".join(
        f"<tr class='{row.kind}'>" + "".join(f"<td>{cell}</td>" for cell in _cells(row)) + "</tr>"
        for row in story.rows
    )
    header = "".join(f"<th>{name}</th>" for name in head)
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='every model'>"
        f"<table><tr>{header}</tr>{rows}</table></div>"
    )


def _cells(row: Row) -> Sequence[str]:
    scores = []
    for result in (row.reasoning, row.refusal, row.over_refusal):
        low, high = result.ci95
        scores.append(f"{100 * result.value:.1f} <small>{100 * low:.1f}–{100 * high:.1f}</small>")
    versus = ""
    if row.versus is not None:
        low, high = row.versus.ci95
        versus = (f"{100 * row.versus.difference:+.1f} "
                  f"<small>{100 * low:+.1f} … {100 * high:+.1f}</small>")  # fmt: skip
    weight = "" if row.weight is None else f"{row.weight:.3f}"
    if not row.reached:
        weight += " <small>(refusal not reached)</small>"
    return escape(row.name), weight, *scores, versus
