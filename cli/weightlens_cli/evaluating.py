"""What `weightlens eval` does with its options: which way it goes, and what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightlens.errors import InputError
from weightlens_cli import screen

if TYPE_CHECKING:
    from weightlens.evaluate.asked_model import Settings
    from weightlens.evaluate.chat import Loading
    from weightlens.evaluate.chosen import Wanted
    from weightlens.evaluate.result import EvalReport


@dataclass(frozen=True)
class Targets:
    """Files for the results, besides the screen."""

    json: str | None
    csv: Path | None
    markdown: Path | None
    html: Path | None

    def check(self, folder: Path | None) -> None:
        """Told before models are asked, not after. folder: that will hold their answers.

        Raises InputError for a file that could not be written, and a page without answers.
        """
        files = (self.csv, self.markdown, self.html)
        for target in (self.json, *(None if at is None else str(at) for at in files)):
            screen.check_target(target)
        if self.html is not None and folder is None:
            raise InputError("--html shows answers: keep them in a folder with --out DIR")

    @property
    def take_the_screen(self) -> bool:
        """Whether one of them is standard output, which then holds that alone."""
        return "-" in map(str, (self.json, self.csv, self.markdown))


def report_of(
    models: Sequence[str],
    answers: Sequence[Path],
    rescored: Path | None,
    *,
    wanted: "Wanted",
    settings: "Settings",
    out: Path | None,
) -> "EvalReport":
    """Asks models, or scores given answers, or scores a folder's answers again.

    Raises InputError unless it is exactly one of the three.
    """
    if sum(map(bool, (models, answers, rescored))) != 1:
        raise InputError("name models to ask, or --answers FILE to score, or --rescore DIR")
    if answers:
        from weightlens.evaluate.rescoring import score_answers

        return score_answers(answers, wanted)
    if rescored is not None:
        from weightlens.evaluate.rescoring import rescore

        return rescore(rescored, wanted)
    from weightlens.evaluate.run import evaluate_models
    from weightlens.report.names import short_models

    short = dict(zip(models, short_models(models), strict=True))
    with screen.progress_bar() as bar:
        task = bar.add_task("asking", total=None)
        return evaluate_models(
            models,
            wanted=wanted,
            settings=settings,
            out=out,
            progress=lambda model, name, done, total: bar.update(
                task, description=f"{short.get(model, model)} {name}", completed=done, total=total
            ),
        )


def check_judges(names: Sequence[str], model: str | None, folder: Path | None) -> None:
    """Told before models are asked, not after. folder: that will hold their answers.

    Raises InputError without such a folder, for a judge that does not exist, and one without a
    model of its own where none is given.
    """
    from weightlens.evaluate.safety.judges.judge_file import load_judge

    if names and folder is None:
        raise InputError("--judge reads answers: keep them in a folder with --out DIR")
    for judge in map(load_judge, names):
        judge.with_model(model or judge.needed_model)


def judged(
    report: "EvalReport", folder: Path, name: str, model: str | None, loading: "Loading"
) -> "EvalReport":
    """The report with what a judge says of the answers in a folder, kept there too."""
    from weightlens.evaluate.judging import judge_run
    from weightlens.evaluate.run import write_report

    with screen.progress_bar() as bar:
        task = bar.add_task("judging", total=None)
        found = judge_run(
            report,
            folder,
            name,
            model=model,
            loading=loading,
            progress=lambda judge, of, done, total: bar.update(
                task, description=f"{judge} on {of}", completed=done, total=total
            ),
        )
    write_report(found, folder)
    return found


def show(report: "EvalReport", targets: Targets, folder: Path | None) -> None:
    """Prints the results and writes them where they are wanted. folder: of the answers."""
    from weightlens.report.answer_files import degeneration_kinds
    from weightlens.report.eval_csv import scores_csv
    from weightlens.report.eval_markdown import eval_markdown
    from weightlens.report.eval_tables import eval_tables

    kinds = degeneration_kinds(report, folder) if folder is not None and report.answers else {}
    if targets.json is not None:
        screen.write_text(report.to_json(), targets.json)
    if targets.csv is not None:
        screen.write_text(scores_csv(report, kinds), str(targets.csv))
    if targets.markdown is not None:
        screen.write_text(eval_markdown(report, kinds), str(targets.markdown))
    if targets.html is not None and folder is not None:
        from weightlens.report.samples_page import write_samples_page

        write_samples_page(report, folder, targets.html)
    if not targets.take_the_screen:
        screen.console().print(*eval_tables(report, kinds), sep="\n")
    screen.name_written(
        json=targets.json, csv=targets.csv, markdown=targets.markdown, page=targets.html
    )


def show_catalogue() -> None:
    """Prints every task and suite."""
    from weightlens.evaluate.catalogue import describe, suites
    from weightlens.report.catalogue_tables import catalogue_tables

    screen.console().print(*catalogue_tables(describe(), suites()), sep="\n")


def text_of(file: Path) -> str:
    """The text of a file that an option names. Raises InputError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InputError(f"{file}: cannot be read ({reason})") from error
