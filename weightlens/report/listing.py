"""What is in a folder of runs, a line a result: what it is, when, of which models, main scores."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from weightlens.evaluate.result import EvalReport
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport
from weightlens.record import Record
from weightlens.report.banded import plain_table
from weightlens.report.eval_parts import compared_parts, figure, names_of, results_of
from weightlens.report.fitting import Fitting
from weightlens.report.names import short_models
from weightlens.report.numbers import number, percent
from weightlens.report.recipe_text import methods_of
from weightlens.report.runs import Listing, Report, Run
from weightlens.report.story import Story
from weightlens.report.strip_parts import strips_of
from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import OverlapReport


class ListedRun(Record):
    """A result. what: the recipe's method, the suite, or the size of subspaces. scores: in words,
    those of several models in their order."""

    file: str
    kind: str
    when: str
    what: str
    models: list[str]
    scores: list[str]


class RunsReport(Record):
    """All results of a folder. unreadable: a sentence for each that is damaged."""

    schema_: Literal["weightlens.runs/1"] = Field(default="weightlens.runs/1", alias="schema")
    runs: list[ListedRun]
    unreadable: list[str]


def listed(listing: Listing) -> RunsReport:
    """The results of a folder, the oldest first."""
    runs = sorted(listing.runs, key=lambda run: (run.when, str(run.file)))
    return RunsReport(runs=[*map(_listed, runs)], unreadable=listing.unreadable)


def runs_tables(report: RunsReport) -> list[RenderableType]:
    """A line a result where that fits the terminal, else a few below each other."""
    table = plain_table()
    for name in ("kind", "when", "what", "models", "scores", "file"):
        table.add_column(name, no_wrap=True)
    for run in report.runs:
        models, scores = (Text("\n".join(part)) for part in (run.models, run.scores))
        table.add_row(run.kind, _when(run), Text(run.what), models, scores, Text(run.file))
    few = Group(*(_below_each_other(run) for run in report.runs))
    shown = [Fitting(table, few)] if report.runs else ["No result of weightlens here."]
    return [*shown, *(f"unreadable: {told}" for told in report.unreadable)]


def _below_each_other(run: ListedRun) -> RenderableType:
    head = Text(f"{run.kind}  {_when(run)}  {run.what}", style="bold")
    told = Text("\n".join((", ".join(run.models), *run.scores, run.file)))
    return Group(head, Padding(told, (0, 0, 0, 2), expand=False))


def _when(run: ListedRun) -> str:
    return run.when.replace("T", " ")[:16]


def _listed(run: Run) -> ListedRun:
    what, models = _about(run.report)
    return ListedRun(
        file=str(run.file),
        kind=run.kind,
        when=run.when.isoformat(timespec="seconds"),
        what=what,
        models=models,
        scores=[*_scores(run.report)],
    )


def _about(report: Report) -> tuple[str, list[str]]:
    match report:
        case MergeReport():
            models = [s.model for s in (report.base, *report.sources) if s]
            return " and ".join(methods_of(report.recipe)), short_models(models)
        case EvalReport():
            return report.suite, list(names_of(report).values())
        case OverlapReport():
            return _size(report), short_models([m.model for m in report.models])
        case CompareReport():
            return _size(report), short_models(report.models)
        case ExtractReport():
            return f"{report.settings.size.by}", short_models(
                [report.base.model, report.tuned.model]
            )
        case Story():
            return report.chosen, [row.name for row in report.rows if row.kind == "model"]


def _scores(report: Report) -> Iterator[str]:
    match report:
        case MergeReport():
            for strip in strips_of(report):
                s = strip.summary
                yield f"{s.side} overlap {number(s.before)} → {number(s.written)} as written"
        case EvalReport():
            yield from _of_parts(report)
        case OverlapReport():
            for model in report.models:
                mean = model.summary.all
                yield " ".join(
                    f"{side} {'–' if ratio is None else f'{ratio:.2f}×'}"
                    for side, ratio in (("column", mean.column_over_chance),
                                        ("row", mean.row_over_chance))
                )  # fmt: skip
        case CompareReport():
            yield from (f"cosine {number(pair.cosine)}" for pair in report.pairs)
        case ExtractReport():
            yield f"{percent(report.totals.kept)} of ‖Δ‖² kept"
        case Story():
            for row in report.rows:
                if row.kind == "written":
                    yield f"reasoning {percent(row.reasoning.value)}"
                    yield f"refusal {percent(row.refusal.value)}"


def _of_parts(report: EvalReport) -> Iterator[str]:
    """A line a task: its scores in the order of the models."""
    found = results_of(report)
    for part in compared_parts(report).values():
        results = [found.get(part.of(model.model)) for model in report.models]
        values = ["–" if r is None else figure(r.value, r.metric) for r in results]
        yield f"{part.label} {', '.join(values)}"


def _size(report: OverlapReport | CompareReport) -> str:
    return f"{report.subspace.by} {report.subspace.value:g}"
