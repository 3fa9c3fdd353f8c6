"""The draws of one model on one task, on disk: a run that was killed goes on where it was.

    STEM.plan.json       what the answers depend on, and the batches
    STEM.jsonl           one draw a line, whole batches in the order in which they were asked
    STEM.batches.jsonl   seconds and tokens of every batch: what may differ between equal runs
    STEM.JUDGE.jsonl     what a judge said of every draw; see `safety.judges`

A batch is written in one piece and brought to the disk before the next is asked. What follows the
last whole batch (a run was killed while it wrote) is dropped and asked again.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import IO, Any

from xxhash import xxh3_64

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.plan import Ask, BatchPlan
from weightlens.evaluate.result import Draw
from weightlens.record import write_whole

SCHEMA = "weightlens.plan/1"

Identity = dict[str, Any]
"""What answers depend on besides question and draw: weights, tokenizer and chat template, task with
its version and data, sampling, seed, backend, device, precision."""


def digest(identity: Identity) -> str:
    """Eight hexadecimal digits that tell identities apart in a file's name."""
    return xxh3_64(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


class Answers:
    """Draws by question and draw, with their plan. Without a folder they live in memory alone.

    A context manager: one run holds the file at a time.
    """

    def __init__(self, folder: Path | None, stem: str, identity: Identity) -> None:
        """stem: of the files' names. Reads what is there already when the context is entered."""
        self.plan, self.done = BatchPlan(), dict[Ask, Draw]()
        self._identity = dict(identity)
        self._stem = None if folder is None else folder / stem
        self._file: IO[bytes] | None = None

    @classmethod
    def reopened(cls, file: Path) -> "Answers":
        """Those of a file of draws, with the identity that its plan tells.

        Raises EvaluationError where the plan is missing or damaged.
        """
        stem = file.with_name(file.name.removesuffix(".jsonl"))
        plan = _beside(stem, ".plan.json")
        try:
            identity = json.loads(plan.read_text(encoding="utf-8"))["identity"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{plan}: is missing or damaged; ask again") from error
        return cls(file.parent, stem.name, identity)

    @property
    def identity(self) -> Identity:
        """What these answers depend on."""
        return self._identity

    @property
    def file(self) -> Path | None:
        """Where the draws are kept."""
        return None if self._stem is None else _beside(self._stem, ".jsonl")

    def __enter__(self) -> "Answers":
        """Raises OutputError where another run holds the file or it cannot be written, and
        EvaluationError where it is damaged."""
        if self._stem is None or self.file is None:
            return self
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.file.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{self.file}: another run is writing it") from error
        except OSError as error:
            raise OutputError(f"{self.file}: cannot be written ({error.strerror})") from error
        self.plan = self._read_plan()
        self._read_draws()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, asks: Collection[Ask]) -> bool:
        """Whether all of these draws are kept."""
        return all(ask in self.done for ask in asks)

    def set_plan(self, plan: BatchPlan) -> None:
        """Keeps a plan, before anything of it is asked."""
        if plan == self.plan:
            return
        self.plan = plan
        if self._stem is not None:
            self._written(_beside(self._stem, ".plan.json"), self._plan_text())

    def add(self, number: int, draws: Sequence[Draw], seconds: float) -> None:
        """Keeps the draws of a whole batch."""
        for draw in draws:
            self.done[Ask(draw.question, draw.draw)] = draw
        if self._file is None or self._stem is None:
            return
        said = sum(draw.tokens for draw in draws)
        timing = {"batch": number, "draws": len(draws), "tokens": said, "seconds": seconds}
        try:
            self._file.write(_lines(draws).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            with _beside(self._stem, ".batches.jsonl").open("a", encoding="utf-8") as timings:
                timings.write(json.dumps(timing) + "\n")
        except OSError as error:
            raise OutputError(f"{self.file}: cannot be written ({error.strerror})") from error

    def replaced(self, draws: Mapping[Ask, Draw], changes: Identity) -> Path:
        """Puts draws that were scored again into the place of those that are kept, under an
        identity that has changed; the file that they are in now. Nothing can be added after it."""
        assert self._stem is not None
        before = self._stem
        self._identity |= changes
        self._stem = before.with_name(f"{before.name.rpartition('.')[0]}.{digest(self._identity)}")
        self.done |= draws
        kept = [self.done[ask] for batch in self.plan.batches for ask in batch if ask in self.done]
        self._written(_beside(self._stem, ".jsonl"), _lines(kept))
        self._written(_beside(self._stem, ".plan.json"), self._plan_text())
        if self._stem != before:
            for file in before.parent.glob(f"{escape(before.name)}.*.jsonl"):  # judgements, too
                file.rename(_beside(self._stem, file.name.removeprefix(before.name)))
            for ending in (".plan.json", ".jsonl"):
                _beside(before, ending).unlink()
        return _beside(self._stem, ".jsonl")

    def _plan_text(self) -> str:
        record = {"schema": SCHEMA, "identity": self._identity, "batches": self.plan.batches}
        return json.dumps(record, ensure_ascii=False) + "\n"

    def _written(self, file: Path, text: str) -> None:
        try:
            write_whole(file, text)
        except OSError as error:
            raise OutputError(f"{file}: cannot be written ({error.strerror})") from error

    def _read_plan(self) -> BatchPlan:
        assert self._stem is not None
        file = _beside(self._stem, ".plan.json")
        if not file.exists():
            return BatchPlan()
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            if record["identity"] != self._identity:
                raise EvaluationError(f"{file}: is the plan of another evaluation; move it away")
            return BatchPlan(tuple(tuple(Ask(*ask) for ask in b) for b in record["batches"]))
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{file}: is damaged; remove it with its answers") from error

    def _read_draws(self) -> None:
        """Reads whole batches, and cuts off what follows the last."""
        assert self._file is not None
        self._file.seek(0)
        batches = {batch[0]: batch for batch in self.plan.batches}
        lines, whole = self._file.readlines(), 0
        place = 0
        while place < len(lines):
            first = _parsed(lines[place])
            batch = batches.get(Ask(first.question, first.draw), ()) if first else ()
            draws = [_parsed(line) for line in lines[place : place + len(batch)]]
            read = [draw for draw in draws if draw is not None]
            if not batch or [Ask(d.question, d.draw) for d in read] != list(batch):
                self._check_torn(place, lines)
                break
            self.done |= dict(zip(batch, read, strict=True))
            whole += sum(map(len, lines[place : place + len(batch)]))
            place += len(batch)
        self._file.truncate(whole)

    def _check_torn(self, place: int, lines: Sequence[bytes]) -> None:
        """Raises EvaluationError where more follows a bad line than one batch could have left."""
        longest = max((len(batch) for batch in self.plan.batches), default=0)
        if len(lines) - place > longest:
            raise EvaluationError(
                f"{self.file}: line {place + 1} is not what {self._stem}.plan.json says; move both "
                "away, or put the line back"
            )


def _parsed(line: bytes) -> Draw | None:
    """A line that is whole, else None."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Draw.model_validate_json(line)
    except ValueError:
        return None


def _lines(draws: Iterable[Draw]) -> str:
    return "".join(draw.model_dump_json() + "\n" for draw in draws)


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
