"""Suites as written in `tasks/suites.yaml`: tasks, and what a suite changes of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from weightlens.evaluate.ranges import Count, Temperature, TopP
from weightlens.evaluate.task import Task
from weightlens.evaluate.written import Written, nearest


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SamplingOverride(_Part):
    """What a suite changes of `task.Sampling`; None for what it leaves."""

    max_new_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None


class SuiteEntry(_Part):
    """A task of a suite. limit: at most so many of its questions. draws, sampling: in the place of
    the task's own."""

    task: str
    limit: Count | None = None
    draws: Count | None = None
    sampling: SamplingOverride = SamplingOverride()

    def applied_to(self, task: Task) -> Task:
        """The task as this suite asks it. The limit is not part of a task: it goes to its
        `questions`. Raises EvaluationError for several draws at temperature 0."""
        sampling = replace(task.sampling, **self.sampling.model_dump(exclude_none=True))
        return replace(task, sampling=sampling, draws=self.draws or task.draws)


class _Suites(RootModel[dict[str, Annotated[list[SuiteEntry], Field(min_length=1)]]]):
    model_config = ConfigDict(frozen=True, strict=True)


def parse_suites(path: Path, tasks: Sequence[str]) -> dict[str, tuple[SuiteEntry, ...]]:
    """The suites of a file. tasks: all that there are. Raises EvaluationError, with file, line and
    field, also for a task that does not exist or is named twice."""
    form = "a file of suites is a mapping from names to lists of tasks"
    written = Written(path.read_text(encoding="utf-8"), str(path), form=form)
    try:
        suites = _Suites.model_validate(written.data).root
    except ValidationError as error:
        raise written.complaint(error, SuiteEntry) from error
    for name, entries in suites.items():
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            if entry.task not in tasks:
                message = f"no task {entry.task!r}{nearest(entry.task, tasks)}"
                raise written.error((name, number, "task"), message)
            if entry.task in seen:
                raise written.error((name, number, "task"), f"{entry.task} is named twice")
            seen.add(entry.task)
    return {name: tuple(entries) for name, entries in suites.items()}
