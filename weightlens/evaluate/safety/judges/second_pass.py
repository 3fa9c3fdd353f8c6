"""Takes a judge through a file of saved answers; what was judged before is not asked again."""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, ValidationError

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.safety.judges.file_judge import fingerprint
from weightlens.evaluate.safety.judges.judgement import (
    Judge,
    Judgement,
    JudgeSummary,
    summarised,
)

Key = tuple[str, int]
"""A question's id and the draw."""

Progress = Callable[[int, int], None]
"""Told the answers that are judged and their total."""


class Saved(BaseModel):
    """What is read of a line of answers; see `evaluate.result.Draw` for the rest of it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    question: str
    draw: int
    prompt: str
    answer: str


def judgements_file(records: Path, judge: Judge) -> Path:
    """Where the judgements of a file of answers are kept: beside it, named after the judge."""
    return records.with_name(f"{records.stem}.{judge.name}.jsonl")


def judge_answers(
    records: Path,
    judge: Judge,
    out: Path | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> JudgeSummary:
    """Judges every saved answer that has no judgement yet, and sums up.

    records: JSONL of draws. out: JSONL of judgements (beside the records where not given), written
    line by line as they come. Raises EvaluationError for records that cannot be judged, and where
    the judge stops: what it judged is kept, and a second call goes on from there.
    """
    draws = read_answers(records)
    out = out or judgements_file(records, judge)
    if out.resolve() == records.resolve():
        raise OutputError(f"{out}: holds the answers themselves; name another file")
    with _opened(out) as file:
        done = _kept(file, out, draws, judge)
        missing = [draw for key, draw in draws.items() if key not in done]
        progress(len(done), len(draws))
        try:
            with closing(judge.judge(missing)) as judgements:
                for judgement in judgements:
                    done[judgement.question, judgement.draw] = judgement
                    _append(file, out, judgement)
                    progress(len(done), len(draws))
        except EvaluationError as error:
            if not done:
                raise
            raise EvaluationError(
                f"{error}; {len(done)} of {len(draws)} answers are judged and kept in {out}: "
                "run the same again to go on"
            ) from error
    return summarised(judge, done.values())


def read_answers(records: Path) -> dict[Key, Saved]:
    """Saved answers by question and draw. Raises EvaluationError with file and line."""
    try:
        lines = _lines(records)
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{records}: cannot be read as answers ({error})") from error
    draws: dict[Key, Saved] = {}
    for number, line in enumerate(lines if any(lines) else [], start=1):
        draw = _answer(line, f"{records}:{number}")
        if draws.setdefault((draw.question, draw.draw), draw) is not draw:
            raise EvaluationError(f"{records}:{number}: {draw.question}, draw {draw.draw}, again")
    if not draws:
        raise EvaluationError(f"{records}: holds no answers")
    return draws


def _lines(file: Path) -> list[str]:
    """Not by splitlines: an answer may hold other characters that end a line."""
    return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _answer(line: str, where: str) -> Saved:
    try:
        draw = Saved.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise EvaluationError(
            f"{where}: no saved answer ({field}: {first['msg']}); where the run that writes it was "
            "cut off, let it finish first"
        ) from error
    if draw.answer.startswith("sha256:") or draw.prompt.startswith("sha256:"):
        raise EvaluationError(f"{where}: is of a private task, whose answers are kept as hashes")
    return draw


@contextmanager
def _opened(out: Path) -> Iterator[IO[bytes]]:
    """One judge holds a file at a time."""
    try:
        file = out.open("a+b")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{out}: another judge is writing it") from error
        yield file


def _kept(
    file: IO[bytes], out: Path, draws: Mapping[Key, Saved], judge: Judge
) -> dict[Key, Judgement]:
    """The judgements that are there; half a line at the end (the run was killed) is cut off."""
    file.seek(0)
    text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    file.truncate(len(whole))
    done: dict[Key, Judgement] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        judgement = _checked(line, f"{out}:{number}", draws, judge)
        done[judgement.question, judgement.draw] = judgement
    return done


def _checked(line: bytes, where: str, draws: Mapping[Key, Saved], judge: Judge) -> Judgement:
    try:
        judgement = Judgement.model_validate_json(line)
    except ValidationError as error:
        raise OutputError(f"{where}: is no judgement; move the file away") from error
    draw = draws.get((judgement.question, judgement.draw))
    if judgement.judge != judge.label:
        raise OutputError(f"{where}: is by {judgement.judge}, not {judge.label}; move it away")
    if draw is None or judgement.judged != fingerprint(draw):
        raise OutputError(f"{where}: judges another answer than the one saved; move the file away")
    return judgement


def _append(file: IO[bytes], out: Path, judgement: Judgement) -> None:
    try:
        file.write(judgement.model_dump_json().encode() + b"\n")
        file.flush()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error


def judged(out: Path) -> Sequence[Judgement]:
    """The judgements of a file, to show them. Raises EvaluationError where it is none."""
    try:
        return [Judgement.model_validate_json(line) for line in _lines(out) if line]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{out}: cannot be read as judgements ({error})") from error
