"""Where everything on a report comes from: models with hashes, versions, settings, warnings."""

from collections.abc import Iterator, Sequence
from html import escape

from weightlens.merge.record import MergeReport, SourceRecord
from weightlens.report.certificate import certificate
from weightlens.report.html_table import definitions, html_table
from weightlens.report.page import Section
from weightlens.report.runs import Run
from weightlens.report.subject import Evaluated, Merged, Subject
from weightlens.survey.result import OverlapReport

_NAMES = {"overlap": "Overlap", "compare": "Comparison", "extract": "Extraction", "demo": "Demo"}


def provenance_section(subject: Subject) -> Section:
    """A part for every result."""
    html = [_merge(merged) for merged, _ in subject.merges]
    html += [_evaluation(evaluated) for evaluated in subject.evaluations]
    html += [_other(run) for run in subject.rest]
    return Section("\n".join(html), {}, "Provenance")


def _merge(merged: Merged) -> str:
    report = merged.report
    facts = definitions(
        (
            ("record", str(merged.file)),
            ("weights", merged.hash or "hash not computed"),
            ("size", f"{report.tensors} tensors, {report.bytes:,} bytes"),
            ("engine", f"{report.engine} {report.weightlens}, torch {report.torch}"),
            ("seed", str(report.seed)),
            ("plan", report.plan or "not recorded"),
        )
    )
    return (
        f"<h3>Merge {escape(merged.name)}</h3>{facts}{_models(report)}{_warnings(report.warnings)}"
    )


def _models(report: MergeReport) -> str:
    head = ("model", "role", "commit", "hash of the weights")
    rows = [*_sources(report, "")]
    return html_table(head, rows, label="models that went in", words=4)


def _sources(report: MergeReport, of: str) -> Iterator[tuple[str, ...]]:
    """The models of a merge, and of the merges before it."""
    if report.base is not None:
        yield _source(report.base, f"base{of}")
    for source in report.sources:
        yield _source(source, f"source{of}")
    for name, step in report.steps.items():
        yield from _sources(step, f" of {name}")


def _source(source: SourceRecord, role: str) -> tuple[str, ...]:
    return (source.model, role, source.commit or "local", source.hash or "–")


def _evaluation(evaluated: Evaluated) -> str:
    report = evaluated.report
    chosen = {name: value for name, value in report.settings.items() if value is not None}
    facts = definitions(
        (
            ("record", str(evaluated.file)),
            ("suite", report.suite),
            ("engine", f"weightlens {report.weightlens}"),
            *((name.replace("_", " "), str(value)) for name, value in chosen.items()),
        )
    )
    tasks = dict.fromkeys((t.task, str(t.version)) for m in report.models for t in m.tasks)
    versions = ", ".join(f"{task} {version}" for task, version in tasks)
    models = html_table(
        ("model", "hash of the weights"),
        [(m.model, m.hash or "–") for m in report.models],
        label="models that were asked",
        words=2,
    )
    return (
        f"<h3>Evaluation {escape(report.suite)}</h3>{facts}{models}"
        f"<p class='note'>Versions of the tasks: {escape(versions)}.</p>"
    )


def _other(run: Run) -> str:
    report = run.report
    facts = [("record", str(run.file)), ("engine", f"weightlens {report.weightlens}")]
    notes: Sequence[str] = ()
    if isinstance(report, OverlapReport):
        facts.append(("base", report.base))
        if report.control is not None:
            facts.append(("control", report.control))
        facts.append(("subspace", f"{report.subspace.by} {report.subspace.value:g}"))
        notes = [*certificate(report)]
    title = f"{_NAMES[run.kind]} ({run.file.name})"
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h3>{escape(title)}</h3>{definitions(facts)}" + (
        f"<ul>{listed}</ul>" if listed else ""
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return "<p class='note'>The merge gave no warning.</p>"
    return f"<ul>{''.join(f'<li>warning: {escape(w)}</li>' for w in warnings)}</ul>"
