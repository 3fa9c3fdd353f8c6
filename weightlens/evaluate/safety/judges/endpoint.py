"""A judge's model behind an OpenAI-compatible endpoint.

Busy servers (429, 5xx), broken connections, timeouts and replies that are not what the API gives
are tried again, with growing pauses; what the server asks for with Retry-After is respected up to
two minutes. What it says of one answer alone (400, 413, 422: too long, filtered) becomes an invalid
verdict, unless it says so of all. The key travels in a header and is nowhere else: not in errors,
records or this object's repr.
"""

import email.utils
import random
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weightlens.errors import EvaluationError
from weightlens.evaluate.safety.judges.judge_file import EndpointOptions
from weightlens.evaluate.safety.judges.judge_model import JudgeModel, Replies, Request, Weights
from weightlens.evaluate.task import Sampling

if TYPE_CHECKING:
    import requests

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
ONE_ANSWER = (400, 413, 422)
LONGEST_PAUSE = 120.0
"""Seconds; whoever asks for more is not waited for."""

_chance = random.SystemRandom()
_REJECTED = 3
"""Rejections in a row, before anything was answered, that mean the request itself is at fault."""


class _Again(Exception):
    """Worth another attempt, after `pause` seconds where the server named them."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class _Rejected(Exception):
    """The server will not take this one request."""


@dataclass(frozen=True)
class Endpoint(JudgeModel):
    """See `judge_model.JudgeModel`. first_pause: seconds after the first failure, doubled after
    each further one, with up to half of it left to chance."""

    options: EndpointOptions
    model: str
    key: str | None = field(default=None, repr=False)
    first_pause: float = 1.0

    def complete(self, requests: Sequence[Request], sampling: Sampling) -> Replies:
        """Replies as they come. Raises EvaluationError when the endpoint gives up on one; those
        under way are yielded first."""
        stop, held, answered = threading.Event(), list[tuple[int, str]](), False
        with closing(self._completed(requests, sampling, stop)) as completed:
            for place, reply in completed:
                if isinstance(reply, _Rejected) and not answered:
                    held.append((place, str(reply)))
                    if len(held) == _REJECTED:
                        raise EvaluationError(f"{self._where}: rejects all it is asked: {reply}")
                    continue
                answered = True
                yield from held
                held.clear()
                yield place, str(reply)
        yield from held

    def weigh(self, requests: Sequence[Request], labels: Sequence[str]) -> Weights:
        """Endpoints do not say how probable every label is."""
        raise EvaluationError(
            "this judge needs probabilities of tokens, which endpoints do not give; run it here"
        )

    def shorten(self, text: str, tokens: int) -> str:
        """Endpoints do not show their tokens."""
        raise EvaluationError("this judge cuts answers by its own tokens; run it here")

    @property
    def _where(self) -> str:
        return f"{self.options.url} ({self.model})"

    def _completed(
        self, requests: Sequence[Request], sampling: Sampling, stop: threading.Event
    ) -> Generator[tuple[int, str | _Rejected], None, None]:
        """As many at once as allowed. stop: set after a failure, so that no more are begun and
        whoever waits for another attempt gives up; requests under way are waited for."""
        waiting = list(reversed(range(len(requests))))
        failure: EvaluationError | None = None
        running: dict[Future[str], int] = {}
        with ThreadPoolExecutor(self.options.concurrency) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < self.options.concurrency:
                        place = waiting.pop()
                        task = pool.submit(self._ask, requests[place], sampling, stop)
                        running[task] = place
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        place = running.pop(done)
                        try:
                            yield place, done.result()
                        except _Rejected as rejected:
                            yield place, rejected
                        except EvaluationError as error:
                            failure = failure or error
                            waiting.clear()
                            stop.set()
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def _ask(self, request: Request, sampling: Sampling, stop: threading.Event) -> str:
        pause = self.first_pause
        for attempt in range(1, self.options.attempts + 1):
            try:
                return self._once(request, sampling)
            except _Again as error:
                reason, asked = str(error), error.pause
            if attempt == self.options.attempts or (asked or 0) > LONGEST_PAUSE:
                break
            # chance keeps those who failed together from coming back together
            chosen = asked if asked is not None else pause * _chance.uniform(0.5, 1)
            if stop.wait(min(chosen, LONGEST_PAUSE)):
                raise EvaluationError(f"{self._where}: stopped")
            pause = min(2 * pause, LONGEST_PAUSE)
        asking = f", and asks to wait {asked:.0f} s" if asked else ""
        raise EvaluationError(
            f"{self._where}: no answer in {attempt} attempts; the last said: {reason}{asking}"
        )

    def _once(self, request: Request, sampling: Sampling) -> str:
        import requests

        try:
            response = requests.post(
                self._address(request),
                json=self._body(request, sampling),
                auth=self._sign,
                timeout=(min(10.0, self.options.timeout), self.options.timeout),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # its text may quote headers; its kind says enough
            raise _Again(type(error).__name__) from None
        if response.status_code in AGAIN:
            raise _Again(self._said(response), _retry_after(response))
        if response.status_code in ONE_ANSWER:
            raise _Rejected(self._said(response))
        if response.status_code != 200:
            raise EvaluationError(f"{self._where}: {self._said(response)}")
        return self._reply(response, request)

    def _address(self, request: Request) -> str:
        path = "chat/completions" if request.messages else "completions"
        return f"{self.options.url.rstrip('/')}/{path}"

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if request.messages:
            body["messages"] = list(request.messages)
        else:
            body["prompt"] = request.text
        body |= self.options.extra
        return {name: value for name, value in body.items() if value is not None}

    def _sign(self, prepared: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Given as `auth`, so that no .netrc puts another key into the place of this one."""
        if self.key:
            prepared.headers["Authorization"] = f"Bearer {self.key}"
        return prepared

    def _said(self, response: "requests.Response") -> str:
        """A response's status and the beginning of its text, without the key."""
        text = " ".join(response.content[:2000].decode(errors="replace").split())
        if self.key:
            text = text.replace(self.key, "***")
        return f"HTTP {response.status_code} {text[:200]}".strip()

    def _reply(self, response: "requests.Response", request: Request) -> str:
        try:
            choice = response.json()["choices"][0]
            said = choice["message"]["content"] if request.messages else choice["text"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise _Again(f"not what OpenAI's API gives: {self._said(response)}") from None
        if said is not None and not isinstance(said, str):
            raise _Again(f"a reply that is no text: {self._said(response)}")
        return (said or "").replace(self.key, "***") if self.key else said or ""


def _retry_after(response: "requests.Response") -> float | None:
    """Seconds that the server asks to wait: a number, or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
