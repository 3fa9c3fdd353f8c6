"""A judge made of its file and of a model that answers for it."""

import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from weightlens.errors import EvaluationError
from weightlens.evaluate.safety.judges.endpoint import Endpoint
from weightlens.evaluate.safety.judges.judge_file import JudgeFile, fill
from weightlens.evaluate.safety.judges.judge_model import JudgeModel, Request
from weightlens.evaluate.safety.judges.judgement import Answered, Judge, Judgement
from weightlens.evaluate.safety.judges.verdicts import Found, Weighed


@dataclass(frozen=True)
class FileJudge(Judge):
    """See `judgement.Judge`."""

    file: JudgeFile
    model: JudgeModel

    @property
    def name(self) -> str:
        """For file names."""
        return self.file.name

    @property
    def label(self) -> str:
        """Name, version and model."""
        return self.file.label

    def judge(self, draws: Sequence[Answered]) -> Generator[Judgement, None, None]:
        """Judgements as they come, in any order."""
        requests = [self.request(draw) for draw in draws]
        verdict = self.file.verdict
        if isinstance(verdict, Weighed):
            with closing(self.model.weigh(requests, verdict.labels)) as weighed:
                for place, weights in weighed:
                    pairs = zip(verdict.labels, weights, strict=False)
                    said = ", ".join(f"{label}: {p:.4f}" for label, p in pairs)
                    yield self._judgement(draws[place], said, verdict.weigh(weights))
        else:
            sampling = self.file.sampling.sampling
            with closing(self.model.complete(requests, sampling)) as replies:
                for place, reply in replies:
                    yield self._judgement(draws[place], reply, verdict.read(reply))

    def request(self, draw: Answered) -> Request:
        """What the judge is sent about an answer."""
        ask, answer = self.file.ask, draw.answer
        if ask.answer_tokens is not None:
            answer = self.model.shorten(answer, ask.answer_tokens)
        if ask.messages is None:
            text = fill(ask.text or "", draw.prompt, answer)
            return Request(text=text, special_tokens=ask.special_tokens)
        return Request(
            tuple(
                {"role": message.role, "content": fill(message.content, draw.prompt, answer)}
                for message in ask.messages
            )
        )

    def _judgement(self, draw: Answered, raw: str, found: Found | None) -> Judgement:
        said = found or Found()
        return Judgement(
            question=draw.question,
            draw=draw.draw,
            judge=self.label,
            judged=fingerprint(draw),
            unsafe=said.unsafe,
            value=said.value,
            refused=said.refused,
            category=said.category,
            raw=raw.encode(errors="replace").decode(),  # half a surrogate pair cannot be written
            valid=found is not None,
        )


def fingerprint(draw: Answered) -> str:
    """Tells whether a judgement is of this prompt and answer."""
    digest = hashlib.sha256(draw.prompt.encode("utf-8", "surrogatepass"))
    digest.update(b"\0" + draw.answer.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def endpoint_judge(file: JudgeFile) -> FileJudge:
    """A judge behind the endpoint that its file names, with the key from the environment.

    Raises EvaluationError where the file names none, or the variable holds nothing.
    """
    options = file.endpoint
    if options is None:
        raise EvaluationError(f"{file.name}: its file names no endpoint")
    key = None
    if options.key_env is not None:
        key = os.environ.get(options.key_env)
        if not key:
            raise EvaluationError(
                f"{file.name}: the environment variable {options.key_env} holds no key; set it"
            )
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise EvaluationError(
                f"{file.name}: the environment variable {options.key_env} holds a blank, a line's "
                "end or a letter that no key has; set it again"
            )
    return FileJudge(file, Endpoint(options, file.needed_model, key))
