"""Self-contained HTML pages: plotly embedded, no network, light and dark, down to phone width."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from weightlens.report.figures import frontier_plot, overlap_heatmap
from weightlens.report.grid import overlap_grid
from weightlens.report.sentences import findings
from weightlens.report.story import Row, Story

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --line: #d8dde4;
        --back: #ffffff; --card: #f6f8fa; --mark: #2e86ab; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa7b6; --line: #333c48; --back: #12161c; --card: #1a2028; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 24px 16px 64px; background: var(--back);
       color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 4px; } h2 { font-size: 1.15rem; margin: 36px 0 8px; }
p.lead { color: var(--soft); margin-top: 0; } ul { padding-left: 20px; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric:
        tabular-nums; }
th, td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { background: var(--card); }
tr:last-child td { border-bottom: 0; } tr.written td { font-weight: 600; }
tr.control td { color: var(--soft); } small { color: var(--soft); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px;
      overflow-x: auto; font-size: .88rem; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--mark); }
th button[aria-sort]::after { content: " ↑"; }
th button[aria-sort=descending]::after { content: " ↓"; }
.figure { width: 100%; min-height: 240px; }
"""

_SCRIPT = """
const dark = window.matchMedia('(prefers-color-scheme: dark)');
function themed() {
  const ink = dark.matches ? '#e6eaf0' : '#1c2430', line = dark.matches ? '#333c48' : '#d8dde4';
  return {paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', 'font.color': ink,
          'xaxis.gridcolor': line, 'yaxis.gridcolor': line,
          'xaxis.zerolinecolor': line, 'yaxis.zerolinecolor': line};
}
for (const [id, figure] of Object.entries(FIGURES)) {
  Plotly.newPlot(id, figure.data, figure.layout, {responsive: true, displayModeBar: false})
    .then(() => Plotly.relayout(id, themed()));
}
dark.addEventListener('change', () => {
  for (const id of Object.keys(FIGURES)) Plotly.relayout(id, themed());
});
"""


def render_page(title: str, body: str, figures: dict[str, Any]) -> str:
    """A whole page. figures: plotly figures by the id of the element that they fill."""
    data = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    for figure in data.values():
        figure["layout"].pop("template", None)
    # a "<" in a name could end the script element or begin another
    embedded = json.dumps(data).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<link rel='icon' href='data:,'>\n"
        f"<style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n<script>{get_plotlyjs()}</script>\n"
        f"<script>const FIGURES = {embedded};{_SCRIPT}</script>\n</body></html>\n"
    )


def write_story_page(story: Story, file: Path) -> None:
    """The demo's page."""
    figures = {"frontier": frontier_plot(story.rows, story.curves, story.wanted_refusal)}
    captions = []
    for model in story.overlap.models:
        name = Path(model.model).name
        figures[f"overlap-{name}"] = overlap_heatmap(
            overlap_grid(model), f"{name} against its base"
        )
        captions.append(f"overlap-{name}")
    control = story.control.models[0]
    title = f"{Path(control.model).name} against an unrelated base (control: 1 everywhere)"
    figures["control"] = overlap_heatmap(overlap_grid(control), title)
    body = "\n".join(
        (
            "<h1>What safety fine-tuning costs, and what a merge wins back</h1>",
            "<p class='lead'>Three models of 0.9 million parameters: a base that reasons and "
            "complies with every request, and two safety fine-tunes of it. "
            f"weightlens {escape(story.weightlens)}, {story.seconds:.0f} s on this machine.</p>",
            "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in findings(story)) + "</ul>",
            "<h2>Every model on the test split</h2>",
            _table(story),
            "<h2>Reasoning against refusal</h2>",
            figure_slot("frontier"),
            "<p><small>Lines: merges by weight on the validation split. Markers with 95 % "
            f"intervals: the test split. Dotted: the refusal wanted, {story.wanted_refusal:g}. The "
            "band is the frontier: the best reasoning of a merge on the lines that refuses at "
            "least as much.</small></p>",
            "<h2>Overlap with the base, by layer and module</h2>",
            *map(figure_slot, [*captions, "control"]),
            "<p><small>Share of each delta that lies in the base's top singular subspaces "
            f"({story.overlap.subspace.by} {story.overlap.subspace.value:g}), over what a delta of "
            "random orientation reads. 1 is chance.</small></p>",
            "<h2>The recipe of the written merge</h2>",
            f"<pre>{escape(story.recipe)}</pre>",
        )
    )
    file.write_text(render_page("weightlens demo", body, figures), encoding="utf-8")


def figure_slot(name: str) -> str:
    """The element that a figure fills."""
    return f"<div class='figure' id='{escape(name)}'></div>"


def _table(story: Story) -> str:
    head = ("", "weight", "reasoning", "refusal", "over-refusal", "reasoning against scaling only")
    rows = "".join(
        f"<tr class='{row.kind}'>" + "".join(f"<td>{cell}</td>" for cell in _cells(row)) + "</tr>"
        for row in story.rows
    )
    header = "".join(f"<th>{name}</th>" for name in head)
    return f"<div class='scroll'><table><tr>{header}</tr>{rows}</table></div>"


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
