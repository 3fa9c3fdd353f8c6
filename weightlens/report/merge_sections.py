"""Sections of a report about a merge: verdict, recipe, and what its strips did."""

from collections.abc import Sequence
from html import escape
from typing import Any

from weightlens.merge.record import MergeReport
from weightlens.report.bar_blocks import bar_blocks
from weightlens.report.html_table import html_table
from weightlens.report.names import short_models
from weightlens.report.numbers import number
from weightlens.report.overlap_figures import overlap_heatmap
from weightlens.report.overlap_sections import scale_note
from weightlens.report.page import Section, panels
from weightlens.report.recipe_text import methods_of
from weightlens.report.score_blocks import score_blocks
from weightlens.report.strip_parts import strip_block, strip_grids, strips_of
from weightlens.report.subject import Merged, Trial
from weightlens.report.verdict import Verdict, verdict_of

_SIGNS = {"good": ("✓", "good"), "bad": ("✗", "worse"), "open": ("?", "open")}


def verdict_section(merged: Merged, trial: Trial | None, title: str) -> Section:
    """The first screen: the verdict in a sentence, scores, what was stripped; then in full."""
    verdict = verdict_of(merged, trial)
    abilities, refusals = ([], []) if trial is None else score_blocks(trial.evaluated.report, trial)
    strips = [strip_block(strip) for strip in strips_of(merged.report)]
    html = (
        f"<p class='verdict'>{_marked(verdict.sentence)}</p>"
        f"{bar_blocks([*abilities, *strips])}{bar_blocks(refusals)}{_findings(verdict)}"
    )
    if trial is not None:
        html += (
            "<p class='note'>Bars of scores end at 100 %; the line across one is its 95 % "
            "interval. Differences are paired, question by question.</p>"
        )
    return Section(html, {}, title)


def _marked(sentence: str) -> str:
    """Text in which what stands in backquotes is code."""
    parts = escape(sentence).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def _findings(verdict: Verdict) -> str:
    if not verdict.lines:
        return ""
    items = "".join(
        f"<li class='{line.tone}'><span class='sign' role='img' "
        f"aria-label='{_SIGNS[line.tone][1]}'>{_SIGNS[line.tone][0]}</span>"
        f"<span><b>{escape(line.about)}</b> {escape(line.words)}</span></li>"
        for line in verdict.lines
    )
    return f"<ul class='findings'>{items}</ul>"


def recipe_section(merges: Sequence[Merged]) -> Section:
    """Every recipe as it was read, to be copied, and the command that merges by it."""
    html = []
    for i, merged in enumerate(merges):
        named = f"<h3>{escape(merged.name)}</h3>" if len(merges) > 1 else ""
        html.append(
            f"{named}<div class='copied'><button type='button' class='copy' "
            f"data-copies='recipe-{i}'>Copy</button>"
            f"<pre id='recipe-{i}' tabindex='0'>{escape(merged.report.recipe)}</pre></div>"
            "<p class='note'>Kept as a file, it is merged again by <code>weightlens merge "
            f"recipe.yaml {escape(merged.name)} --seed {merged.report.seed}</code>.</p>"
        )
    return Section("\n".join(html), {}, "Recipe")


def strip_section(merges: Sequence[Merged]) -> Section | None:
    """The overlap that was stripped in numbers, and by layer and module before and as written."""
    html, figures = [], dict[str, Any]()
    for i, merged in enumerate(merges):
        captions = {}
        for j, (what, side, grid) in enumerate(strip_grids(merged.report)):
            name = f"strip-{i}-{j}"
            figures[name] = overlap_heatmap(grid, side)
            captions[name] = f"{side} overlap ÷ chance: {what}"
        if captions:
            named = f"<h3>{escape(merged.name)}</h3>" if len(merges) > 1 else ""
            html.append(f"{named}{strip_table(merged.report)}{panels(captions)}")
    if not html:
        return None
    return Section("\n".join([*html, scale_note()]), figures, "Overlap before and as written")


def strip_table(report: MergeReport) -> str:
    """A row a strip."""
    head = ("source", "side", "matrices", "untouched", "chance", "before", "after", "merged",
            "as written")  # fmt: skip
    rows = [
        (s.source, s.summary.side, str(s.summary.matrices), str(s.summary.untouched),
         *(number(v) for v in (s.summary.chance, s.summary.before, s.summary.after,
                               s.summary.merged, s.summary.written)))
        for s in strips_of(report)
    ]  # fmt: skip
    return html_table(head, rows, label="overlap with the stripped subspace", words=2)


def described_merge(report: MergeReport) -> str:
    """What was merged, in a line."""
    names = short_models([s.model for s in report.sources])
    base = "" if report.base is None else f" on {short_models([report.base.model])[0]}"
    method = " and ".join(methods_of(report.recipe))
    size = f"{report.tensors} tensors, {report.bytes / 1e6:,.1f} MB"
    return f"{method} of {', '.join(names)}{base} · {size} · weightlens {report.weightlens}"
