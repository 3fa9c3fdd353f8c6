"""`weightlens report --html`: one self-contained page out of the results of several commands.

The answer first: is this merge any good. What was not measured is absent, not an empty box.
"""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from weightlens.merge.extract_record import ExtractReport
from weightlens.record import write_output
from weightlens.report.answers_section import (
    SAMPLES,
    differences_section,
    has_answers,
    samples_section,
)
from weightlens.report.bar_blocks import bar_blocks
from weightlens.report.certificate import interrupted
from weightlens.report.compare_section import compare_section
from weightlens.report.extract_section import extract_section
from weightlens.report.joined import joined
from weightlens.report.merge_sections import (
    described_merge,
    recipe_section,
    strip_section,
    verdict_section,
)
from weightlens.report.names import short_files
from weightlens.report.overlap_page import overlap_sections, overlap_sentences
from weightlens.report.page import (
    Extras,
    Section,
    alarm,
    figures_of,
    folded,
    headed,
    navigation,
    render_page,
)
from weightlens.report.provenance_section import provenance_section
from weightlens.report.report_script import COPYING, VIEWING
from weightlens.report.report_style import REPORT_STYLE
from weightlens.report.runs import Report
from weightlens.report.samples_style import SAMPLES_STYLE
from weightlens.report.score_blocks import score_blocks
from weightlens.report.story import Story
from weightlens.report.story_page import frontier_section
from weightlens.report.subject import Subject
from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import OverlapReport

_TITLES = {
    "overlap": "Overlap with the base",
    "compare": "Fine-tunes compared",
    "extract": "Extracted adapter",
    "demo": "Reasoning against refusal",
}


def write_report_page(subject: Subject, file: Path, *, withheld: bool = False) -> None:
    """Everything that the results hold.

    withheld: for a page that may be pushed, harmful answers are left out, not only folded up.
    Raises EvaluationError for damaged answers, OutputError where the page cannot be written.
    """
    sections = [*_sections(subject, withheld=withheld)]
    samples = any(section.title == SAMPLES for section in sections)
    body = "\n".join(
        (
            _head(subject),
            navigation(section.title for section in sections),
            *(f"<p class='note open'>{escape(note)}</p>" for note in subject.notes),
            *map(headed, sections),
        )
    )
    extras = Extras(SAMPLES_STYLE + REPORT_STYLE, COPYING + (VIEWING if samples else ""))
    write_output(file, render_page(title_of(subject), body, figures_of(sections), extras))


def title_of(subject: Subject) -> str:
    """What a report is called: by its merges, or else by what else it holds."""
    if subject.merges:
        return ", ".join(merged.name for merged, _ in subject.merges)
    if subject.evaluations:
        return ", ".join(dict.fromkeys(one.report.suite for one in subject.evaluations))
    return ", ".join(dict.fromkeys(_title_of_rest(run.report) for run in subject.rest))


def _title_of_rest(report: Report) -> str:
    match report:
        case OverlapReport():
            return f"Overlap with {report.against}"
        case CompareReport():
            return f"Fine-tunes of {report.base}"
        case ExtractReport():
            return f"Adapter out of {report.tuned.model}"
    return "weightlens demo"


def _head(subject: Subject) -> str:
    several = len(subject.merges) > 1
    lines = [
        (f"{merged.name}: " if several else "") + described_merge(merged.report)
        for merged, _ in subject.merges
    ]
    lead = "".join(f"<p class='lead'>{escape(line)}</p>" for line in lines)
    return f"<h1>{escape(title_of(subject))}</h1>{lead}"


def _sections(subject: Subject, *, withheld: bool) -> Iterator[Section]:
    several = len(subject.merges) > 1
    for merged, trial in subject.merges:
        title = f"Verdict on {merged.name}" if several else "Verdict"
        yield verdict_section(merged, trial, title)
    yield from _scores(subject)
    merges = [merged for merged, _ in subject.merges]
    if merges:
        yield recipe_section(merges)
    strips = strip_section(merges)
    if strips is not None:
        yield strips
    yield from _measured(subject)
    yield from _answers(subject, withheld=withheld)
    yield provenance_section(subject)


def _scores(subject: Subject) -> Iterator[Section]:
    """Of the evaluations that no verdict speaks of."""
    told = [trial.evaluated for _, trial in subject.merges if trial is not None]
    left = [one for one in subject.evaluations if one not in told]
    for one, title in zip(left, _titles("Scores", [e.file for e in left]), strict=True):
        yield Section("".join(map(bar_blocks, score_blocks(one.report))), {}, title)


def _measured(subject: Subject) -> Iterator[Section]:
    """Overlaps, comparisons and the rest."""
    for kind, title in _TITLES.items():
        runs = joined([run for run in subject.rest if run.kind == kind])
        for i, (run, name) in enumerate(
            zip(runs, _titles(title, [run.file for run in runs]), strict=True)
        ):
            match run.report:
                case OverlapReport():
                    yield _overlap(run.report, name, f"overlap{i}-")
                case CompareReport():
                    yield compare_section(run.report, name)
                case ExtractReport():
                    yield extract_section(run.report, name)
                case Story() if i == 0:
                    yield frontier_section(run.report)


def _overlap(report: OverlapReport, title: str, prefix: str) -> Section:
    """The sentences and heatmaps of an overlap report; the rest of its page behind their titles."""
    first, *others = overlap_sections(report, prefix)
    said = "".join(f"<li>{escape(line)}</li>" for line in overlap_sentences(report))
    html = f"{alarm(interrupted(report))}<ul>{said}</ul>{first.html}{''.join(map(folded, others))}"
    return Section(html, figures_of([first, *others]), title)


def _answers(subject: Subject, *, withheld: bool) -> Iterator[Section]:
    """Differences of every evaluation, and the samples of the first that has them."""
    evaluations = subject.evaluations
    shown = next((one for one in evaluations if has_answers(one)), None)
    titles = _titles("Paired differences", [one.file for one in evaluations])
    for one, title in zip(evaluations, titles, strict=True):
        yield differences_section(one, title, linked=one is shown)
    if shown is not None:
        trials = [trial for _, trial in subject.merges if trial and trial.evaluated is shown]
        merge = trials[0].merge if trials else None
        yield samples_section(shown, merge, withheld=withheld)


def _titles(title: str, files: Sequence[Path]) -> list[str]:
    """The title, with the names of the files where there are several."""
    if len(files) < 2:
        return [title] * len(files)
    return [f"{title}: {name}" for name in short_files(files)]
