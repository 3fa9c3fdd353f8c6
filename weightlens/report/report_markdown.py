"""`weightlens report --markdown`: a report's first screen and its tables, for a pull request."""

import re
from collections.abc import Iterator, Sequence

from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport
from weightlens.report.compare_tables import pair_rows
from weightlens.report.eval_markdown import escaped, table_head, table_row
from weightlens.report.eval_parts import (
    Part,
    described,
    drift_told,
    names_of,
    parts_of,
    results_of,
    score,
    told,
)
from weightlens.report.grid import SIDES, mean_over_chance
from weightlens.report.joined import joined
from weightlens.report.names import short_files, short_models
from weightlens.report.numbers import number, percent
from weightlens.report.runs import Run
from weightlens.report.score_blocks import kind_of
from weightlens.report.sentences import findings
from weightlens.report.story import Story
from weightlens.report.strip_parts import strips_of
from weightlens.report.subject import Evaluated, Merged, Subject, Trial
from weightlens.report.verdict import verdict_of
from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import OverlapReport

_SIGNS = {"good": "✅", "bad": "❌", "open": "❔"}


def report_markdown(subject: Subject) -> str:
    """GitHub's Markdown: verdicts, scores, strips, overlaps, comparisons, recipe, provenance."""
    lines: list[str] = []
    for merged, trial in subject.merges:
        lines += _merge(merged, trial)
    told_of = [trial.evaluated for _, trial in subject.merges if trial is not None]
    for evaluated in subject.evaluations:
        if evaluated not in told_of:
            lines += [f"### {escaped(evaluated.report.suite)}", "", *_scores(evaluated, None)]
    lines += _others(joined(subject.rest))
    lines += [f"- {escaped(note)}" for note in subject.notes]
    for merged, _ in subject.merges:
        lines += ["", *_recipe(merged), *_provenance(merged)]
    return "\n".join(lines).strip() + "\n"


def _merge(merged: Merged, trial: Trial | None) -> Iterator[str]:
    verdict = verdict_of(merged, trial)
    yield f"### {escaped(merged.name)}"
    yield ""
    # a command between backquotes stays one
    parts = verdict.sentence.split("`")
    yield "`".join(part if i % 2 else _plain(part) for i, part in enumerate(parts))
    yield ""
    if trial is not None:
        yield from _scores(trial.evaluated, trial)
        yield from (
            f"- {_SIGNS[line.tone]} **{escaped(line.about)}** {escaped(line.words)}"
            for line in verdict.lines
        )
        yield ""
    yield from _strips(merged.report)


def _plain(part: str) -> str:
    """Text without markup, with the spaces at its ends."""
    spaces = (" " if part.startswith(" ") else "", " " if part.endswith(" ") else "")
    return escaped(part).join(spaces) if part.strip() else part


def _scores(evaluated: Evaluated, trial: Trial | None) -> Iterator[str]:
    """A row a task, a column a model: base, sources, merge."""
    report, names = evaluated.report, names_of(evaluated.report)
    found = results_of(report)
    order = [m.model for m in report.models] if trial is None else trial.order
    heads = [_named(names[m], kind_of(m, trial)) for m in order]
    yield from table_head(["% [95 % interval]", *heads], right=len(order))
    for part in parts_of(report):
        cells = [
            "–" if result is None else score(result).strip()
            for result in (found.get(part.of(model)) for model in order)
        ]
        if trial is not None:
            place = order.index(trial.merge)
            cells[place] = f"**{cells[place]}**"
        yield table_row([_about(part), *cells])
    yield ""
    yield f"{escaped(described(report))}."
    yield ""
    if trial is None:
        yield from (f"- {escaped(pair.sentence)}" for pair in report.pairs if pair.sentence)
    yield from (f"- {escaped(note)}" for note in (*drift_told(report), *told(report)))
    yield ""


def _named(name: str, kind: str) -> str:
    return escaped(name) if kind in ("", name) else f"{escaped(name)}<br>{kind}"


def _about(part: Part) -> str:
    return f"{escaped(part.label)}<br>{escaped(f'{part.metric} {part.direction}, {part.size}')}"


def _strips(report: MergeReport) -> Iterator[str]:
    strips = strips_of(report)
    if not strips:
        return
    head = ["overlap with the base", "chance", "before", "stripped", "merged", "as written"]
    yield from table_head(head, right=5)
    for strip in strips:
        s = strip.summary
        against = " (random subspace)" if strip.subspace == "random" else ""
        numbers = (s.chance, s.before, s.after, s.merged)
        cells = [*map(number, numbers), f"**{number(s.written)}**"]
        yield table_row([f"{s.side} of {escaped(strip.source)}{against}", *cells])
    yield ""


def _others(runs: Sequence[Run]) -> Iterator[str]:
    """Overlaps with the names of their files where there are several."""
    files = [run.file for run in runs if run.kind == "overlap"]
    named = dict(zip(files, short_files(files), strict=True)) if len(files) > 1 else {}
    for run in runs:
        if isinstance(run.report, OverlapReport):
            yield from _overlap(run.report, named.get(run.file))
        else:
            yield from _other(run)


def _other(run: Run) -> Iterator[str]:
    match run.report:
        case CompareReport():
            yield from _comparison(run.report)
        case ExtractReport():
            yield f"#### Adapter out of {escaped(run.report.tuned.model)}"
            kept = f"{percent(run.report.totals.kept)} of ‖Δ‖² kept"
            yield from ("", f"{kept}, {run.report.bytes / 1e6:,.1f} MB", "")
        case Story():
            yield from ("#### Merges at matched refusal", "")
            yield from (f"- {escaped(line)}" for line in findings(run.report))
            yield ""


def _overlap(report: OverlapReport, file: str | None) -> Iterator[str]:
    size = f"{report.subspace.by} {report.subspace.value:g}"
    where = f" ({escaped(file)})" if file else ""
    yield f"#### Overlap with {escaped(report.against)}{where}"
    yield ""
    yield from table_head([f"× chance, subspaces by {size}", *SIDES], right=len(SIDES))
    names = short_models([model.model for model in report.models])
    for name, model in zip(names, report.models, strict=True):
        ratios = [mean_over_chance(model.summary.all, side) for side in SIDES]
        cells = ["–" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        yield table_row([escaped(name), *cells])
    yield ""


def _comparison(report: CompareReport) -> Iterator[str]:
    yield "#### Fine-tunes compared"
    yield ""
    head = ["model", "and", "cosine", "sign conflict", "a in b ÷ chance", "b in a ÷ chance",
            "interference"]  # fmt: skip
    yield from table_head(head, right=5)
    short = dict(zip(report.models, short_models(report.models), strict=True))
    for a, b, *numbers in pair_rows(report):
        yield table_row([escaped(short.get(a, a)), escaped(short.get(b, b)), *numbers])
    yield ""


def _recipe(merged: Merged) -> Iterator[str]:
    text = merged.report.recipe.rstrip("\n")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from _folded(f"Recipe of {merged.name}", [f"{fence}yaml", *text.split("\n"), fence])


def _provenance(merged: Merged) -> Iterator[str]:
    report = merged.report
    lines = [*table_head(["model", "commit", "hash of the weights"], right=0)]
    for source in (report.base, *report.sources):
        if source is not None:
            cells = (source.model, source.commit or "local", source.hash or "–")
            lines.append(table_row([*map(escaped, cells)]))
    made = (
        f"weightlens {report.weightlens}, torch {report.torch}, seed {report.seed}, plan "
        f"{report.plan or 'not recorded'}"
    )
    lines += ["", escaped(made)]
    lines += [f"- warning: {escaped(warning)}" for warning in report.warnings]
    yield from _folded(f"Provenance of {merged.name}", lines)


def _folded(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield from (f"<details><summary>{escaped(title)}</summary>", "", *lines, "", "</details>", "")
