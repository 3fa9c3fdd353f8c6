"""From the rows of a task's data to its questions."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from string import ascii_uppercase
from typing import Any, NoReturn

from weightlens.evaluate.data.formats import Row
from weightlens.evaluate.data.sources import Found
from weightlens.evaluate.data.templates import Context, Unfit, expression, template
from weightlens.evaluate.task import Question
from weightlens.evaluate.taskfile import Options, TaskFile
from weightlens.evaluate.written import Location, Written


def questions_of(file: TaskFile, written: Written, found: Found) -> tuple[Question, ...]:
    """The questions of a task, in the order in which a limited run takes them.

    Raises EvaluationError, with file, line, field and row, for a template that does not go with a
    row, and for two questions with one id.
    """
    reading = _Reading(file, written, found)
    kept = reading.kept()
    if not kept:
        raise written.error(("keep",), f"no row of {found.place} is kept")
    strata = [reading.text(file.spread, ("spread",), row) for row in kept]
    return tuple(reading.question(kept[i]) for i in in_turn(strata))


def in_turn(strata: Sequence[str]) -> list[int]:
    """Positions, one of every stratum in turn, the strata in the order of their first members."""
    members: dict[str, list[int]] = {}
    for position, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(position)
    turn = {p: (t, s) for s, group in enumerate(members.values()) for t, p in enumerate(group)}
    return sorted(range(len(strata)), key=turn.__getitem__)


def shuffled(count: int, seed: str) -> list[int]:
    """An order of positions that depends on the seed alone, in any version of Python."""
    return sorted(range(count), key=lambda i: sha256(f"weightlens\n{seed}\n{i}".encode()).digest())


@dataclass(frozen=True)
class _Kept:
    """A row that is a question. number: of the row in the data, from 0. columns: also those that
    the source adds, and the row itself."""

    number: int
    columns: Row
    id: str = ""


@dataclass(frozen=True)
class _Reading:
    """The templates and expressions of a task file, over the rows that were found."""

    file: TaskFile
    written: Written
    found: Found
    _compiled: dict[Location, Callable[[Context], Any]] = field(default_factory=dict)

    def text(self, source: str, location: Location, row: _Kept) -> str:
        """What a template gives for a row; nothing for an empty one."""
        return str(self._made(template, source, location, row)) if source else ""

    def value(self, source: str, location: Location, row: _Kept) -> Any:
        """What an expression gives for a row."""
        return self._made(expression, source, location, row)

    def _made(
        self,
        compile_: Callable[[str, Location, Written], Callable[[Context], Any]],
        source: str,
        location: Location,
        row: _Kept,
    ) -> Any:
        if location not in self._compiled:
            self._compiled[location] = compile_(source, location, self.written)
        try:
            return self._compiled[location](row.columns)
        except Unfit as problem:
            self.unfit(row, location, str(problem))

    def unfit(self, row: _Kept, location: Location, problem: str) -> NoReturn:
        """Raises an error that names the field, the row and its columns."""
        columns = ", ".join(self.found.rows[row.number])
        message = f"row {row.number} of {self.found.place}: {problem} (its columns: {columns})"
        raise self.written.error(location, message)

    def kept(self) -> list[_Kept]:
        """The rows that are questions, with their ids."""
        position = self.file.data.index(self.found.source)
        rows: list[_Kept] = []
        numbers: dict[str, int] = {}
        for number, stored in enumerate(self.found.rows):
            row = _Kept(number, stored)
            added = {
                name: self.value(text, ("data", position, "rows", name), row)
                for name, text in self.found.source.rows.items()
            }
            row = _Kept(number, {**stored, **added, "row": stored})
            if self.file.keep is None or self.value(self.file.keep, ("keep",), row):
                usual = f"{self.file.name}/{len(rows)}"
                id_ = usual if self.file.id is None else self.text(self.file.id, ("id",), row)
                if not id_:
                    self.unfit(row, ("id",), "the id is empty")
                if id_ in numbers:
                    self.unfit(row, ("id",), f"the id {id_} is that of row {numbers[id_]}, too")
                numbers[id_] = number
                rows.append(replace(row, id=id_))
        return rows

    def question(self, row: _Kept) -> Question:
        """A row as a question."""
        file, fields = self.file, self._fields(row)
        reference = self.text(file.reference, ("reference",), row)
        if file.options is not None:
            choices, reference = self._choices(file.options, row)
            options = [{"label": label, "text": text} for label, text in choices.items()]
            row = replace(row, columns={**row.columns, "options": options})
            fields["options"] = json.dumps(choices, ensure_ascii=False)
        elif file.reference and not reference:
            self.unfit(row, ("reference",), "the reference is empty")
        prompt = self.text(file.prompt, ("prompt",), row)
        if not prompt:
            self.unfit(row, ("prompt",), "the prompt is empty")
        group = self.text(file.group, ("group",), row)
        return Question(row.id, prompt, reference, group=group, fields=fields)

    def _fields(self, row: _Kept) -> dict[str, str]:
        fields = {}
        for name, source in self.file.fields.items():
            value = self.value(source, ("fields", name), row)
            if value is None:
                self.unfit(row, ("fields", name), "a value is null")
            fields[name] = value if isinstance(value, str) else json.dumps(value)
        return fields

    def _choices(self, options: Options, row: _Kept) -> tuple[Mapping[str, str], str]:
        """Texts by label in the order that the question shows, and the label of the right one."""
        texts = self._strings(options.texts, ("options", "texts"), row)
        labels = list(ascii_uppercase[: len(texts)])
        if options.labels is not None:
            labels = self._strings(options.labels, ("options", "labels"), row)
        if len(labels) != len(texts) or len(set(labels)) != len(labels):
            self.unfit(row, ("options",), f"{len(texts)} texts for the labels {', '.join(labels)}")
        right = 0
        if options.answer is not None:
            label = self.text(options.answer, ("options", "answer"), row)
            if label not in labels:
                self.unfit(row, ("options", "answer"), f"{label!r} is none of the labels")
            right = labels.index(label)
        order = shuffled(len(texts), row.id) if options.shuffle else list(range(len(texts)))
        choices = {label: texts[i] for label, i in zip(labels, order, strict=True)}
        return choices, labels[order.index(right)]

    def _strings(self, source: str, location: Location, row: _Kept) -> list[str]:
        value = self.value(source, location, row)
        if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
            self.unfit(row, location, "a list is wanted")
        return [str(part).strip() for part in value]
