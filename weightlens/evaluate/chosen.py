"""The tasks of a run: from suites and names to tasks that can be asked, with their data."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources
from weightlens.evaluate.lm_eval_tasks import PREFIX
from weightlens.evaluate.ranges import Count, Temperature, TopP, check
from weightlens.evaluate.suites import SuiteEntry
from weightlens.evaluate.task import Question, Split, Task

DRIFT = "drift"

CodeRuns = Literal["never", "sandboxed", "unsafe"]
"""Whether programs that models write are run: unsafe is with what protection there is."""


@dataclass(frozen=True)
class Changes:
    """What a run changes of the tasks as they are written; None for what it leaves.

    Raises EvaluationError for numbers that make no sense.
    """

    limit: Count | None = None
    draws: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_new_tokens: Count | None = None

    def __post_init__(self) -> None:
        check(self)

    def applied_to(self, task: Task) -> Task:
        """Raises EvaluationError for several draws of greedy answers: they are one."""
        wanted = {
            name: value
            for name in ("temperature", "top_p", "max_new_tokens")
            if (value := getattr(self, name)) is not None
        }
        sampling = replace(task.sampling, **wanted)
        return replace(task, sampling=sampling, draws=self.draws or task.draws)


@dataclass(frozen=True)
class Wanted:
    """What a user asks for: a suite, tasks by name or path, or both; where the data lies.

    The task `drift` is not asked but read: see `drifting`. traces: a file of answers for it.
    """

    suite: str | None = None
    tasks: tuple[str, ...] = ()
    data: Path | None = None
    traces: Path | None = None
    code: CodeRuns = "never"
    changes: Changes = field(default_factory=Changes)

    @property
    def own_tasks(self) -> tuple[str, ...]:
        """The named tasks that weightlens asks itself."""
        others = (DRIFT, *self.lm_eval_tasks)
        return tuple(name for name in self.tasks if name not in others)

    @property
    def lm_eval_tasks(self) -> tuple[str, ...]:
        """The named tasks that lm-eval asks."""
        return tuple(name for name in self.tasks if name.startswith(PREFIX))

    @property
    def drift(self) -> bool:
        """Whether the drift of every model from the first is measured."""
        return DRIFT in self.tasks or self.traces is not None

    @property
    def title(self) -> str:
        """The suite and the tasks in words."""
        named = [Path(name).stem if _is_file(name) else name for name in self.tasks]
        return " + ".join([*([self.suite] if self.suite else []), *named]) or DRIFT


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


@dataclass(frozen=True)
class Chosen:
    """A task, and how many of its questions at most. notes: what a reader should know of it."""

    task: Task
    limit: Count | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)

    def questions(self, split: Split) -> list[Question]:
        """Those to be asked. Raises EvaluationError for a split that the task lacks."""
        return self.task.questions(split, self.limit)


def choose(wanted: Wanted) -> list[Chosen]:
    """Every task of a run, with its data at hand.

    Raises EvaluationError for unknown names, missing or damaged data, and code that may not be run
    or cannot be run safely here.
    """
    entries = list(catalogue.suite(wanted.suite)) if wanted.suite else []
    twice = next((name for name in wanted.tasks if wanted.tasks.count(name) > 1), None)
    if twice is not None:
        raise EvaluationError(f"task {twice} is named twice")
    named = {entry.task for entry in entries}
    entries += [SuiteEntry(task=name) for name in wanted.own_tasks if name not in named]
    if not entries and not wanted.drift and not wanted.lm_eval_tasks:
        raise EvaluationError("no task; name a suite or tasks (--suite quick, --task gsm8k)")
    code = _code(wanted.code)
    return [_chosen(entry, wanted, code) for entry in entries]


@dataclass(frozen=True)
class _Code:
    """Scorers that run programs, and behind which wall, in words."""

    scorers: catalogue.RunCode | None = None
    wall: tuple[str, ...] = ()


def _chosen(entry: SuiteEntry, wanted: Wanted, code: _Code) -> Chosen:
    loaded = catalogue.load(entry.task, Sources(wanted.data), run_code=code.scorers)
    task = wanted.changes.applied_to(entry.applied_to(loaded.task))
    limit = wanted.changes.limit or entry.limit
    data = "+".join(h for h in (loaded.data_hash, loaded.file_hash) if h)
    lower = loaded.lower_is_better
    parts = {q.group for q in task.questions("test", None)} if lower else set()
    groups = {part: part not in lower for part in sorted(parts)}
    notes = (*loaded.notes, *(code.wall if loaded.runs_code else ()))
    return Chosen(replace(task, data=data, groups=groups), limit, notes)


def _code(runs: CodeRuns) -> _Code:
    if runs == "never":
        return _Code()
    from weightlens.evaluate.code.programs import code_scorer
    from weightlens.evaluate.code.sandbox import Sandbox

    sandbox = Sandbox.detect(unsafe=runs == "unsafe")
    wall = [f"programs ran with {'; '.join(sandbox.protections)}"]
    wall += [f"WITHOUT {'; '.join(sandbox.missing)}"] if sandbox.missing else []
    scorers: catalogue.RunCode = {
        "humaneval": code_scorer(sandbox, "humaneval"),
        "mbpp": code_scorer(sandbox, "mbpp"),
    }
    return _Code(scorers, tuple(wall))
