"""The answers that a report tells of, read back from the files beside it."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from weightlens.errors import EvaluationError
from weightlens.evaluate.json_lines import numbered
from weightlens.evaluate.plan import Ask
from weightlens.evaluate.result import AnswersFile, Draw


def answers_at(folder: Path, entry: AnswersFile) -> Path:
    """The file that a report names. Raises EvaluationError where it is not in that folder."""
    file = folder / entry.file
    if not file.resolve().is_relative_to(folder.resolve()):
        raise EvaluationError(f"{entry.file}: the report names a file outside of {folder}")
    return file


def kept_draws(file: Path, entry: AnswersFile) -> Iterator[Draw]:
    """The draws of a file that a report tells of, one after the other.

    Raises EvaluationError for a file that cannot be read or lacks some, for a damaged line, and for
    a draw that is there twice.
    """
    found = set[Ask]()
    try:
        with file.open("rb") as lines:
            for draw in entry.scored(_read(line, f"{file}:{n}") for n, line in numbered(lines)):
                if (ask := Ask(draw.question, draw.draw)) in found:
                    raise EvaluationError(
                        f"{file}: holds {ask.question}, draw {ask.draw}, twice; move it away and "
                        "run the evaluation again"
                    )
                found.add(ask)
                yield draw
    except OSError as error:
        raise EvaluationError(
            f"{file}: the answers of {entry.model} cannot be read ({error.strerror}); name the "
            "folder that the evaluation wrote them to"
        ) from error
    check_whole(entry, len(found))


def check_whole(entry: AnswersFile, found: int) -> None:
    """Raises EvaluationError where fewer draws were found than the report tells of, as far as it
    says how many they are."""
    asked = (1 if entry.questions is None else len(entry.questions)) * (entry.draws or 1)
    if found < asked:
        raise EvaluationError(
            f"{entry.file}: holds {found} of the answers that were scored, at least {asked}; run "
            "the evaluation again"
        )


def _read(line: bytes, where: str) -> Draw:
    try:
        return Draw.model_validate_json(line)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise EvaluationError(
            f"{where}: is no draw ({reason}); run the evaluation again, it keeps what is whole"
        ) from error
