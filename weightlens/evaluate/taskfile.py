"""Tasks as written: one YAML file each, where the data is, what is asked and how it is judged.

Of its fields some are templates and some are expressions, both of Jinja (sandboxed) over the
columns of a row: `id`, `prompt`, `reference`, `group`, `spread` and `options.answer` are templates
and give text; `keep`, `rows`, `fields`, `options.texts` and `options.labels` are expressions and
give values.
"""

import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from weightlens.errors import EvaluationError
from weightlens.evaluate.ranges import Count, Temperature, TopP
from weightlens.evaluate.written import Written

ScorerName = Literal["number", "exact", "math", "choice", "humaneval", "mbpp", "refusal"]
ExtractorName = Literal["boxed", "after_marker", "last_number", "choice", "whole"]

NEEDED_FIELDS: dict[str, tuple[str, ...]] = {
    "humaneval": ("prompt", "test", "entry_point"),
    "mbpp": ("tests", "setup"),
}
"""What the scorers of programs look for among a question's fields."""

_NEVER_EXTRACTS = ("humaneval", "mbpp", "refusal")
_FORM = "a task file is a mapping with name, version, data, prompt, scorer and others"


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("a path inside the data folder, with / between its parts, is wanted")
    return path


def _one_line(text: str) -> str:
    if "\n" in text.strip():
        raise ValueError("one line is wanted")
    return text.strip()


RelativePath = Annotated[str, AfterValidator(_inside)]
Line = Annotated[str, StringConstraints(min_length=1), AfterValidator(_one_line)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(_Part):
    """One place that the data can come from: a file on this machine, or files of a Hub data set.

    file: relative to the task file's own folder or to --data. member, password: of a zip, the file
    in it and the environment variable that holds its password. repo, revision, files, gated: a data
    set on the Hub, the commit, its files in order, and whether its terms must be accepted first.
    columns: names for a CSV without a header. rows: columns to add, by expressions over those that
    are there.
    """

    file: RelativePath | None = None
    member: RelativePath | None = None
    password: str | None = None
    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: list[RelativePath] = Field(default_factory=list)
    gated: bool = False
    columns: list[str] | None = Field(default=None, min_length=1)
    rows: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> "Source":
        if (self.file is None) == (self.repo is None):
            raise ValueError("a source has either file, or repo with revision and files")
        if self.file is not None and (self.revision or self.files or self.gated):
            raise ValueError("revision, files and gated belong to a repo")
        if self.repo is not None and not (self.revision and self.files):
            raise ValueError("a repo needs revision (a commit, 40 hexadecimal digits) and files")
        if self.repo is not None and (self.member or self.password):
            raise ValueError("member and password belong to a file")
        if self.file is not None and self.file.endswith(".zip") != (self.member is not None):
            raise ValueError("member says which file of a zip is meant")
        return self


class Options(_Part):
    """The choices of a question.

    texts: a list. labels: as many; letters from A unless given. answer: the label of the right one;
    without it the first text is right. shuffle: put them in an order of the question's own.
    """

    texts: str
    labels: str | None = None
    answer: str | None = None
    shuffle: bool = False


def _pattern(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    if groups < 1:
        raise ValueError("a pattern needs a group: what it holds is the answer")
    return text


class Try(_Part):
    """One way to find the answer: by a name, or by the group 1 of a pattern's last match."""

    by: ExtractorName | None = None
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Try":
        if (self.by is None) == (self.pattern is None):
            raise ValueError("a try is a name, or a mapping with pattern")
        return self


class Decoding(_Part):
    """How answers are drawn; see `task.Sampling`."""

    max_new_tokens: Count
    temperature: Temperature = 0.0
    top_p: TopP = 1.0


class TaskFile(_Part):
    """A task as written.

    questions: how many there are, for listings and to tell an incomplete file. keep: whether a row
    is a question. id: NAME/ROW, rows from 0 among those kept, unless given. spread: of a limited
    run the questions come from every value of this in turn. fields: what the scorer needs besides.
    extract: ways to find the answer, tried in order. lower_is_better_groups: groups in which a high
    value is bad although it is good in the others (over-refusal beside refusal).
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    version: int = Field(ge=1)
    about: Line
    licence: Line
    questions: Count | None = None
    data: list[Source] = Field(min_length=1)
    keep: str | None = None
    id: str | None = None
    prompt: Annotated[str, StringConstraints(min_length=1)]
    reference: str = ""
    group: str = ""
    spread: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    options: Options | None = None
    extract: list[Annotated[Try, BeforeValidator(lambda v: _named(v))]] = Field(
        default_factory=list
    )
    scorer: ScorerName
    metric: Line
    sampling: Decoding
    draws: Count = 1
    higher_is_better: bool = True
    lower_is_better_groups: list[str] = Field(default_factory=list)
    private: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "TaskFile":
        if (self.scorer == "choice") != (self.options is not None):
            raise ValueError("options belong to the scorer choice, and it needs them")
        if self.scorer in ("number", "exact", "math") and not self.reference:
            raise ValueError(f"the scorer {self.scorer} needs a reference")
        if self.options is not None and self.reference:
            raise ValueError("the reference of a choice is options.answer")
        if self.extract and self.scorer in _NEVER_EXTRACTS:
            raise ValueError(f"the scorer {self.scorer} reads the whole answer; leave extract out")
        missing = [n for n in NEEDED_FIELDS.get(self.scorer, ()) if n not in self.fields]
        if missing:
            raise ValueError(f"the scorer {self.scorer} needs fields.{missing[0]}")
        if self.draws > 1 and self.sampling.temperature == 0:
            raise ValueError("several draws at temperature 0 are one; give sampling.temperature")
        return self

    @cached_property
    def files(self) -> list[str]:
        """The files that may hold the data on this machine."""
        return [source.file for source in self.data if source.file is not None]


def _named(value: Any) -> Any:
    return {"by": value} if isinstance(value, str) else value


def parse(text: str, name: str) -> tuple[TaskFile, Written]:
    """A task file's text. name: for errors, all of which are EvaluationErrors with file, line and
    field."""
    written = Written(text, name, form=_FORM)
    try:
        return TaskFile.model_validate(written.data), written
    except ValidationError as error:
        raise written.complaint(error, TaskFile) from error


def read(path: Path) -> tuple[TaskFile, Written]:
    """A task file. Raises EvaluationError where it is not there, unreadable or wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: not text in UTF-8") from error
    return parse(text, str(path))
