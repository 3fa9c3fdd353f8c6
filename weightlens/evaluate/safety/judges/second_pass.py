"""Takes a judge through saved answers; what was judged before is not asked again."""

import fcntl
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.json_lines import numbered
from weightlens.evaluate.safety.judges.file_judge import fingerprint
from weightlens.evaluate.safety.judges.judgement import Answered, Judge, Judgement

Key = tuple[str, int]
"""A question's id and the draw."""

Progress = Callable[[int, int], None]
"""Told the answers that are judged and their total."""


def judgements_file(records: Path, judge: Judge) -> Path:
    """Where the judgements of a file of answers are kept: beside it, named after the judge."""
    return records.with_name(f"{records.stem}.{judge.name}.jsonl")


def judge_answers(
    answers: Sequence[Answered],
    judge: Judge,
    out: Path,
    *,
    progress: Progress = lambda done, total: None,
) -> list[Judgement]:
    """Judges every answer that has no judgement yet; the judgements of all, in their order.

    out: JSONL of judgements, written line by line as they come; it may hold those of other answers,
    which stay. Raises EvaluationError for answers of a private task, and where the judge stops:
    what it judged is kept, and a second call goes on from there.
    """
    if any(text.startswith("sha256:") for a in answers for text in (a.prompt, a.answer)):
        raise EvaluationError(
            f"{out}: is of a private task, whose answers are kept as hashes; they cannot be judged"
        )
    draws = {(answer.question, answer.draw): answer for answer in answers}
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
    return [done[key] for key in draws]


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
    file: IO[bytes], out: Path, draws: Mapping[Key, Answered], judge: Judge
) -> dict[Key, Judgement]:
    """The judgements of these draws that are there; half a line at the end (the run was killed) is
    cut off."""
    file.seek(0)
    text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    file.truncate(len(whole))
    done: dict[Key, Judgement] = {}
    for number, line in numbered(io.BytesIO(whole)):
        judgement = _checked(line, f"{out}:{number}", draws, judge)
        if (key := (judgement.question, judgement.draw)) in draws:
            done[key] = judgement
    return done


def _checked(line: bytes, where: str, draws: Mapping[Key, Answered], judge: Judge) -> Judgement:
    try:
        judgement = Judgement.model_validate_json(line)
    except ValidationError as error:
        raise OutputError(f"{where}: is no judgement; move the file away") from error
    draw = draws.get((judgement.question, judgement.draw))
    if judgement.judge != judge.label:
        raise OutputError(f"{where}: is by {judgement.judge}, not {judge.label}; move it away")
    if draw is not None and judgement.judged != fingerprint(draw):
        raise OutputError(f"{where}: judges another answer than the one saved; move the file away")
    return judgement


def _append(file: IO[bytes], out: Path, judgement: Judgement) -> None:
    try:
        file.write(judgement.model_dump_json().encode() + b"\n")
        file.flush()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from error
