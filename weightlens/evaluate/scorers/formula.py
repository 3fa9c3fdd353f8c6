"""Answers that are a formula, compared for equivalence by math-verify.

math-verify's own limits of time are signals: they work on the main thread alone, and do not reach
into C code; of memory it has no limit (10^{10^{10}} is a formula, too). So it works in a process of
its own with limited memory, which is asked over a pipe, and is killed and started again where it
does not answer in time. That works from any thread, for a few milliseconds an answer.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.extraction import candidates
from weightlens.evaluate.task import Question, Scorer, Verdict
from weightlens.evaluate.taskfile import Try

Kind = Literal["formula", "prose"]

_PROGRAM = Path(__file__).with_name("formula_process.py")
_TO_START = 60.0
_TO_ANSWER = 25.0
"""Seconds. In the process math-verify gives up by itself after 5 on each reading and comparing."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR")

_LONGEST = 2000
"""Characters of an answer beyond which it is not read: the longest of MATH-500's has 128."""


def formula_scorer(tries: Sequence[Try] = ()) -> Scorer:
    """1 where the formula found first is equivalent to the reference.

    An answer that cannot be read as a formula, or not in time, is wrong with the outcome
    "not parsed". Raises EvaluationError, when it is first needed, where math-verify is missing.
    """
    find = candidates(tries, ("boxed", "after_marker"))

    def score(question: Question, answer: str) -> Verdict:
        found = next(find(question, answer), None)
        if found is not None and _squeezed(found) == _squeezed(question.reference):
            return Verdict(1.0, found, "right")
        if found is None and (tries or not answer.strip()):
            return Verdict(0.0, None, "no answer")
        # a reply without box and marker is prose, in which math-verify looks for formulas itself;
        # what is said last is the likelier answer
        text = (found or answer)[-_LONGEST:]
        kind: Kind = "prose" if found is None else "formula"
        outcome, read = EQUIVALENCE.judge(question.reference, text, kind)
        if found is None and read is None:
            outcome = "no answer"
        return Verdict(float(outcome == "right"), found or read, outcome)

    return score


def _squeezed(text: str) -> str:
    return "".join(text.split()).strip("$")


class Equivalence:
    """The process that compares formulas; started when it is first needed."""

    def __init__(self, *, seconds: float = _TO_ANSWER) -> None:
        """seconds: to wait for a verdict."""
        self._seconds = seconds
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def judge(self, reference: str, answer: str, kind: Kind = "formula") -> tuple[str, str | None]:
        """The outcome (right, wrong or not parsed), and the answer as it was read.

        kind: whether the answer is a formula alone, or prose with one in it.
        """
        with self._lock:
            process = self._running()
            request = json.dumps([reference, answer, kind]) + "\n"
            try:
                reply = self._exchange(process, request.encode(), self._seconds)
            except BaseException:
                self._stop()  # or the next one would be given this one's reply
                raise
            if reply is None:
                self._stop()
                return "not parsed", None
            outcome, read = json.loads(reply)
            return str(outcome), read

    def close(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            self._stop()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
            ready = self._exchange(self._process, b"", _TO_START)
            if ready != b"ready\n":
                self._stop()
                raise EvaluationError(
                    "formulas need math-verify, which does not start: "
                    "pip install 'weightlens-toolkit[eval]'"
                )
        return self._process

    @staticmethod
    def _exchange(
        process: "subprocess.Popen[bytes]", request: bytes, seconds: float
    ) -> bytes | None:
        """One line for another; None where the process ends or is late."""
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
        except BrokenPipeError:
            return None
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            # a reply is one small write: what has begun to come is there
            line = process.stdout.readline() if waiting.select(seconds) else b""
        return line if line.endswith(b"\n") else None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _environment() -> dict[str, str]:
    """What Python needs to start, and no tokens; sympy walks over sets, so their order is fixed."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0"}


EQUIVALENCE = Equivalence()
atexit.register(EQUIVALENCE.close)
