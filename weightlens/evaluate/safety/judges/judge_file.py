"""Judges as written: one YAML file each, with what the judge is sent and how it is understood."""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from weightlens.errors import EvaluationError
from weightlens.evaluate.ranges import Count, Temperature, TopP
from weightlens.evaluate.safety.judges.verdicts import Verdict
from weightlens.evaluate.task import Sampling
from weightlens.evaluate.written import Written, nearest

_FORM = "a judge is a mapping with name, version, ask, verdict and others"
_HOLES = re.compile(r"\{(prompt|answer)\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Message(_Part):
    """One turn of a conversation; {prompt} and {answer} in it are filled in."""

    role: Literal["system", "user", "assistant"]
    content: str


class Ask(_Part):
    """What a judge is sent: messages for its own chat template, or a text as it stands.

    special_tokens: whether the tokenizer adds those that begin a text; of no meaning for messages.
    answer_tokens: an answer is cut to so many of the judge's tokens; None for never.
    """

    messages: list[Message] | None = None
    text: str | None = None
    special_tokens: bool = True
    answer_tokens: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "Ask":
        if (self.messages is None) == (self.text is None):
            raise ValueError("either messages or text is wanted")
        written = self.text or "".join(m.content for m in self.messages or [])
        if "{answer}" not in written:
            raise ValueError("{answer} does not occur: the judge would not see what it judges")
        return self


class Drawn(_Part):
    """How the judge's reply is drawn; greedily where nothing is said."""

    max_new_tokens: Count
    temperature: Temperature = 0.0
    top_p: TopP = 1.0

    @property
    def sampling(self) -> Sampling:
        """The same, as the evaluator takes it."""
        return Sampling(self.max_new_tokens, self.temperature, self.top_p)


class EndpointOptions(_Part):
    """A server with OpenAI's API. url: up to /v1. key_env: the environment variable that holds the
    key; the key itself is never written here. timeout: seconds without a byte. attempts: at one
    answer before giving up. concurrency: requests under way at once. extra: further fields of the
    request's body; null takes one out.
    """

    url: str
    key_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")] | None = None
    timeout: float = Field(default=120, gt=0)
    attempts: int = Field(default=6, ge=1, le=20)
    concurrency: int = Field(default=4, ge=1, le=64)
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "EndpointOptions":
        if not re.match(r"https?://[^\s/@?#]+(?:/[^\s@?#]*)?\Z", self.url):
            raise ValueError(
                "an http or https address is wanted, without user, password or query; a key "
                "belongs into an environment variable that key_env names"
            )
        return self


class JudgeFile(_Part):
    """A judge. model: a folder or Hub id, or the name that the endpoint knows; None where whoever
    uses the judge has to name one. about, source, licence: for people."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    version: int = Field(ge=1)
    about: str = ""
    source: str = ""
    licence: str = ""
    model: Annotated[str, StringConstraints(min_length=1)] | None = None
    ask: Ask
    verdict: Verdict
    sampling: Drawn = Drawn(max_new_tokens=64)
    endpoint: EndpointOptions | None = None

    @property
    def label(self) -> str:
        """Name, version and model."""
        return f"{self.name} v{self.version} ({self.needed_model})"

    @property
    def needed_model(self) -> str:
        """The model. Raises EvaluationError where none is named."""
        if self.model is None:
            raise EvaluationError(f"{self.name}: any capable chat model may judge; name one")
        return self.model

    def with_model(self, model: str, endpoint: EndpointOptions | None = None) -> "JudgeFile":
        """The same judge by another model, at an endpoint or (None) on this machine."""
        return self.model_copy(update={"model": model, "endpoint": endpoint})


def judge_names() -> tuple[str, ...]:
    """The judges that weightlens knows, by name."""
    files = resources.files(__package__).iterdir()
    return tuple(sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml")))


def load_judge(name: str) -> JudgeFile:
    """A judge by name, or from a YAML file. Raises EvaluationError with file, line and field."""
    if name in judge_names():
        text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        return read_judge(text, f"{name}.yaml")
    file = Path(name)
    if file.suffix not in (".yaml", ".yml"):
        known = ", ".join(judge_names())
        raise EvaluationError(
            f"no judge {name!r}{nearest(name, judge_names())}; there is {known}, or give a file "
            "(.yaml)"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{file}: cannot be read as a judge ({error})") from error
    judge = read_judge(text, str(file))
    if judge.name in judge_names():
        raise EvaluationError(
            f"{file}: {judge.name} is one of weightlens's own judges; give yours another name"
        )
    return judge


def read_judge(text: str, name: str) -> JudgeFile:
    """A judge from the text of a file; name: of that, for errors."""
    written = Written(text, name, form=_FORM)
    try:
        return JudgeFile.model_validate(written.data)
    except ValidationError as error:
        raise _complaint(written, error) from error


def _complaint(written: Written, error: ValidationError) -> EvaluationError:
    """pydantic puts the kind of a verdict into the place of its fields, where no file has it."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    part, *inside = first["loc"]
    if part != "verdict" or not inside:
        return written.complaint(error, JudgeFile)
    location = ("verdict", *inside[1:])
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    elif first["type"] == "missing":
        location, message = location[:-1], f"{location[-1]} is missing"
    return written.error(location, message)


def fill(template: str, prompt: str, answer: str) -> str:
    """A template with prompt and answer in their places, whatever these hold themselves."""
    values = {"prompt": prompt, "answer": answer}
    return _HOLES.sub(lambda hole: values[hole[1]], template)
