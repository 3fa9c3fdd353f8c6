"""Untrusted programs in a process of their own, and a verdict that they cannot write themselves.

**Two processes.** The program's process defines the program and then only answers calls; the
tests run in the checker's process, which was there first. Arguments go to the program and results
come back through a pipe as plain values (`jail/wire.py`): numbers, text, containers. So there is
nothing in the program's reach to patch, print or exit with: `os._exit(0)` ends a program whose
tests are not through, a changed `AssertionError` or `__eq__` stays where it was changed, and an
object that is no plain value equals nothing but itself. "passed" is said by the checker alone,
when the last test has returned.

**The wall.** With namespaces (through bubblewrap where that is installed and works, else by
`unshare(2)` itself): no network, no other process in sight, a file system of the interpreter
alone, read-only, and an empty /tmp in memory that goes when the program goes. The checker is the
first process of the PID namespace: nothing survives it, nothing inside can signal it. A run as
root continues as a user who owns nothing. Without namespaces, on request: limits, an empty
environment and folder, and a hunt for what is left running at the end.

**What a hostile program can still do.** Give the right answers for the wrong reason: recognise
the question and recite. Use a hole in the kernel: system calls are not filtered. Take the limits
to the full, and for up to 50 ms more than the limit of all its processes together; what the
kernel holds for it (pipes, shared memory without a process) is counted by nobody. Spend the
checker's time with answers that are slow to compare, until the wall clock. Tell such tests as ask
an object of the program for its truth, length or items what they want to hear, as it could by
returning a plain value. Read the machine's kernel version, processor and load. And without
namespaces, all that its user may do: read and write files, use the network, kill the checker
(which counts as failed) or weightlens itself.

Programs have the standard library and nothing else (`-S`): HumanEval and MBPP need no more, and a
verdict must not depend on what else is installed. A program that imports numpy fails.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import cast, get_args

from weightlens.errors import EvaluationError
from weightlens.evaluate.code import launch, protections
from weightlens.evaluate.code.jail import wire
from weightlens.evaluate.code.limits import Checks, Finished, Limits, Outcome

GRACE = 5.0
"""Seconds after the wall clock at which a checker that did not end itself is ended."""


@dataclass(frozen=True)
class Sandbox:
    """Runs programs behind a wall. Safe to use from several threads at once.

    protections, missing: what is active here and what is not, in words, for printing.
    """

    wall: launch.Wall
    limits: Limits
    protections: tuple[str, ...]
    missing: tuple[str, ...]

    @classmethod
    def detect(cls, *, unsafe: bool = False, limits: Limits | None = None) -> "Sandbox":
        """The strongest sandbox that works here, found by trying.

        unsafe: take one without namespaces where nothing better works.
        EvaluationError: nothing better works and `unsafe` is not set, or nothing works at all.
        """
        limits = limits or Limits()
        if sys.platform != "linux":
            raise EvaluationError(f"programs can be shut in on Linux only, not on {sys.platform}")
        failures = []
        for wall in get_args(launch.Wall):
            if wall == "none" and not unsafe:
                break
            sandbox = cls(wall, limits, *protections.described(wall, limits))
            failure = protections.failure(sandbox.run, wall)
            if not failure:
                return sandbox
            failures.append(f"{wall}: {failure}")
        advice = "" if unsafe else "; --unsafe-code runs it all the same, with your rights"
        raise EvaluationError(
            "programs cannot be shut in on this machine, so the model's code is not run "
            f"({'; '.join(failures)}): install bubblewrap or allow user namespaces{advice}"
        )

    def run(
        self, program: str, checks: Checks | None = None, *, limits: Limits | None = None
    ) -> Finished:
        """Runs one program, and its checks where there are any.

        Without checks "passed" means no more than that the program's text ran to its end.
        limits: instead of the sandbox's own. EvaluationError: the sandbox itself failed.
        """
        limits = limits or self.limits
        started = time.monotonic()
        ground = tempfile.mkdtemp(prefix="weightlens-code-")
        try:
            written = launch.orders(
                program, checks, wall=self.wall, limits=limits, ground=os.path.realpath(ground)
            )
            report = _communicate(
                launch.command(self.wall, limits),
                written,
                environment=self._environment(ground),
                wall_seconds=limits.wall_seconds,
            )
        finally:
            _remove(ground)
        return Finished(report[0], _one_line(report[1]), time.monotonic() - started)

    def _environment(self, ground: str) -> dict[str, str]:
        folder = ground if self.wall == "none" else "/tmp"
        return launch.ENVIRONMENT | {"HOME": folder, "TMPDIR": folder}


def _communicate(
    command: list[str], written: bytes, *, environment: dict[str, str], wall_seconds: float
) -> tuple[Outcome, str]:
    """Starts the run, hands it its orders, and waits for the verdict."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise EvaluationError(f"the sandbox did not start: {command[0]}: {error}") from None
    try:
        out, complaint = process.communicate(written, timeout=wall_seconds + GRACE)
    except subprocess.TimeoutExpired:
        return "timed out", "the checker did not end with the wall clock"
    finally:
        if process.returncode is None:
            # the group, for behind bubblewrap the checker is no child of what was started here
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return _verdict(_messages(out), complaint.decode(errors="replace"))


def _messages(raw: bytes) -> list[tuple[str, str]]:
    messages = []
    while len(raw) > 4:
        end = 4 + int.from_bytes(raw[:4], "big")
        messages.append(cast(tuple[str, str], wire.decode(raw[4:end], _no_object)))
        raw = raw[end:]
    return messages


def _no_object(owner: bytes, number: int) -> object:
    raise wire.WireError("no object passes here")


def _verdict(messages: list[tuple[str, str]], complaint: str) -> tuple[Outcome, str]:
    """The last word of a run that began; EvaluationError: it never did."""
    if not messages or messages[0][0] != "ready":
        why = _one_line(messages[0][1] if messages else complaint) or "it said nothing"
        raise EvaluationError(f"the sandbox did not start: {why}")
    if len(messages) == 1:
        return "killed", "the checker was ended before its verdict"
    outcome, detail = messages[-1]
    return cast(Outcome, outcome), detail


def _one_line(text: str) -> str:
    """The text without line breaks and control characters, 200 characters at most."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(line.split())[:200]


def _remove(folder: str) -> None:
    """Removes a temporary folder and what a program left in it, links as links."""
    try:
        os.rmdir(folder)
    except OSError:
        for path, folders, _ in os.walk(folder):
            for inner in (os.path.join(path, name) for name in folders):
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
