"""`weightlens overlap --html`: one self-contained page of an overlap report."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from weightlens.record import write_output
from weightlens.report.certificate import certificate, interrupted, rounding_warning
from weightlens.report.legend import look_of
from weightlens.report.matrix_table import matrix_table
from weightlens.report.numbers import percent
from weightlens.report.overlap_sections import (
    against_k_section,
    experts_section,
    heatmap_section,
    layers_section,
    models_section,
    training_section,
)
from weightlens.report.page import Section, alarm, figures_of, headed, navigation, render_page
from weightlens.survey.result import Mean, ModelRecord, OverlapReport


def write_overlap_page(report: OverlapReport, file: Path) -> None:
    """Summary, heatmaps, curves, distribution over layers, training, every matrix sortable."""
    sections = list(overlap_sections(report))
    body = "\n".join(
        (
            _head(report),
            navigation(section.title for section in sections),
            *map(headed, sections),
        )
    )
    page = render_page(f"Overlap with {report.against}", body, figures_of(sections))
    write_output(file, page)


def overlap_sections(report: OverlapReport, prefix: str = "") -> Iterator[Section]:
    """All sections of a report; prefix: of their ids, where a page shows several reports."""
    look = look_of(report.models, prefix)
    yield heatmap_section(look)
    for section in (models_section, training_section, against_k_section, experts_section):
        found = section(look)
        if found is not None:
            yield found
    yield layers_section(look)
    yield Section(matrix_table(report.models, f"{prefix}matrices"), {}, "Every matrix")


def overlap_sentences(report: OverlapReport) -> list[str]:
    """What every model reads, what of it says little, and how sure the subspaces are."""
    return [*(f"Warning: {warning}." for warning in _warnings(report)), *_read(report)]


def _head(report: OverlapReport) -> str:
    return "\n".join(
        (
            f"<h1>Overlap with {escape(report.against)}</h1>",
            f"<p class='lead'>Subspaces by {report.subspace.by} {report.subspace.value:g}. 1 × is "
            "what a delta of random orientation reads. weightlens "
            f"{escape(report.weightlens)}.</p>",
            alarm(interrupted(report)),
            *(alarm(f"Warning: {warning}.") for warning in _warnings(report)),
            "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in _read(report)) + "</ul>",
        )
    )


def _warnings(report: OverlapReport) -> Iterator[str]:
    for model in report.models:
        warning = rounding_warning(report, model)
        if warning is not None:
            yield warning


def _read(report: OverlapReport) -> list[str]:
    return [*map(_sentence, report.models), *certificate(report)]


def _sentence(model: ModelRecord) -> str:
    name = f"{model.model} ({model.kind})"
    mean: Mean = model.summary.all
    if mean.column_over_chance is None:
        return f"{name}: equals the base; every delta is zero."
    said = (
        f"{name}: column {mean.column_over_chance:.2f} × chance, "
        f"row {mean.row_over_chance:.2f} ×, both {mean.both_over_chance:.2f} × "
        f"over {mean.matrices} matrices"
    )
    if mean.rounding_share is not None:
        said += f"; rounding alone would be {percent(mean.rounding_share)} of its energy"
    return said + "."
