"""What drift is measured on: prompts with answers to them, such as the base's own."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from weightlens.errors import EvaluationError
from weightlens.evaluate.json_lines import read_numbered
from weightlens.record import Record

Kind = Literal["reasoning", "refusal"]


class Trace(Record):
    """One answer to one prompt, thinking included where the model thinks.

    id: unique among the traces; in a file, its line number where none is given.
    """

    prompt: str
    answer: str
    kind: Kind = "reasoning"
    id: str = Field(default="", validate_default=False)

    @field_validator("answer")
    @classmethod
    def _says_something(cls, answer: str) -> str:
        if not answer.strip():
            raise ValueError("is empty, so there is nothing to measure; leave the trace out")
        return answer


def read_traces(file: Path) -> list[Trace]:
    """Traces from a JSONL file of {"prompt", "answer"[, "kind": "reasoning" or "refusal"][, "id"]}.

    Empty lines are skipped. Raises EvaluationError, with file and line, for a file that cannot be
    read or holds none, for a line that is not such an object, and for an id given twice.
    """
    found: dict[str, Trace] = {}
    for number, line in read_numbered(file, "traces"):
        trace = _trace(line, f"{file}:{number}", str(number))
        if trace.id in found:
            raise EvaluationError(f"{file}:{number}: the id {trace.id!r} is given twice")
        found[trace.id] = trace
    if not found:
        raise EvaluationError(
            f'{file}: holds no traces; one a line, {{"prompt": "…", "answer": "…"}}'
        )
    return [*found.values()]


def _trace(line: str, where: str, number: str) -> Trace:
    try:
        trace = Trace.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise EvaluationError(f"{where}: {field}{': ' if field else ''}{reason}") from error
    return trace if trace.id else trace.model_copy(update={"id": number})
