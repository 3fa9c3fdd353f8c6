"""Paired differences of an evaluation and, where they are at hand, its answers to read."""

from html import escape

from weightlens.report.answer_files import answer_files
from weightlens.report.eval_parts import described, drift_told, names_of, told
from weightlens.report.page import Section
from weightlens.report.samples_blocks import Samples
from weightlens.report.samples_page import BUDGET, viewer, viewer_notes
from weightlens.report.samples_results import pairs_table
from weightlens.report.subject import Evaluated

SAMPLES = "Samples"


def differences_section(evaluated: Evaluated, title: str, *, linked: bool) -> Section:
    """Every model against the first, and what a reader must know besides.

    linked: whether the page shows the samples of this evaluation.
    """
    report = evaluated.report
    notes = "".join(
        f"<p class='note'>{escape(note)}</p>" for note in (*drift_told(report), *told(report))
    )
    lead = f"<p class='note'>{escape(described(report))}; % with 95 % intervals.</p>"
    return Section(lead + pairs_table(report, linked=linked) + notes, {}, title)


def has_answers(evaluated: Evaluated) -> bool:
    """Whether all files of answers lie beside the report."""
    report, folder = evaluated.report, evaluated.file.parent
    return bool(report.answers) and all((folder / entry.file).is_file() for entry in report.answers)


def samples_section(evaluated: Evaluated, merge: str | None, *, withheld: bool) -> Section:
    """The viewer of one evaluation; a page has at most one.

    merge: shown beside the first model, where the evaluation holds one. withheld: harmful material
    is left out, not only folded up. Raises EvaluationError for damaged answers.
    """
    report = evaluated.report
    files = answer_files(report, evaluated.file.parent)
    samples = Samples(report, files, withheld=withheld, budget=BUDGET)
    notes = "".join(
        f"<p class='note'>{escape(note)}</p>" for note in viewer_notes(samples, withheld=withheld)
    )
    beside = "" if merge is None else escape(names_of(report)[merge])
    heading = f"<span id='samples-heading' tabindex='-1' data-beside='{beside}'></span>"
    return Section(f"{heading}{notes}{viewer(samples)}", {}, SAMPLES)
