"""The JSON inside a page of samples: an index, and blocks that are parsed when they are looked at.

A block holds rows of one task: its questions, or a model's draws. Where a page may be pushed, what
is harmful is not in it at all, nor the id of such a question: a hash stands in its place.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weightlens.evaluate.result import Draw, EvalReport
from weightlens.report.answer_files import AnswerFile, Judged, Judgements
from weightlens.report.eval_parts import (
    KIND_NAMES,
    compared_parts,
    in_percent,
    names_of,
    results_of,
)
from weightlens.report.samples_texts import Shortened, fair_limit, shortened, taken_apart
from weightlens.report.sensitive import (
    REFUSALS,
    Harm,
    hashed,
    is_hash,
    unsafe_because,
    without_words,
)

QUESTION_FIELDS = ("id", "group", "prompt", "reference", "good", "hidden")
DRAW_FIELDS = ("question", "draw", "seed", "verdict", "cut", "tokens", "degenerate", "outcome",
               "extracted", "answer", "thinking", "raw", "hidden", "why", "judged")  # fmt: skip
"""good: whether high verdicts are. cut: by the limit of tokens. hidden: "", or `folded`,
`withheld`, `private`, and why. A text that was shortened is a list: its beginning, how many
characters are left out, its end."""

Row = list[Any]


@dataclass
class Asked:
    """A task on the page: its questions by id, each as the first of its draws, without answer.

    held: the questions that a model's file holds.
    """

    questions: dict[str, Draw] = field(default_factory=dict)
    harmful: set[str] = field(default_factory=set)
    extracts: bool = False
    files: list[AnswerFile] = field(default_factory=list)
    held: dict[str, set[str]] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        """The ids, numbers in them by their size."""
        return sorted(self.questions, key=_natural)


class Samples:
    """All draws of a report, as a page holds them."""

    def __init__(
        self, report: EvalReport, files: Sequence[AnswerFile], *, withheld: bool, budget: int
    ) -> None:
        """Reads every draw once, for what must be known before the first is written.

        withheld: harmful material stays out. budget: characters of all texts together.
        """
        self._report, self._withheld = report, withheld
        self._harm = Harm(report)
        self._judgements: dict[AnswerFile, Judgements] = {}
        self.tasks: dict[str, Asked] = {}
        lengths: list[int] = []
        for file in files:
            lengths += self._survey(file)
        self.limit = fair_limit(lengths, budget)

    def _survey(self, file: AnswerFile) -> Iterator[int]:
        """Takes note of a file's questions, and gives the lengths of all texts."""
        asked = self.tasks.setdefault(file.task, Asked())
        asked.files.append(file)
        judgements = self._judgements[file] = file.judgements()
        for draw in file.draws():
            judged = judgements.get((draw.question, draw.draw), {})
            asked.held.setdefault(file.model, set()).add(draw.question)
            if any(one.alarming for one in judged.values()) or self._harm.asked(
                file.task, draw.group
            ):
                asked.harmful.add(draw.question)
            asked.extracts |= draw.extracted is not None
            if draw.question not in asked.questions:
                alone = draw.model_copy(update={"raw": "", "answer": "", "extracted": None})
                asked.questions[draw.question] = alone
                yield from (len(draw.prompt), len(draw.reference))
            yield from (*taken_apart(draw).lengths, len(draw.extracted or ""))

    def beyond(self) -> Iterator[str]:
        """Where a file holds other questions than those that were scored: an earlier run asked
        more."""
        names, parts = names_of(self._report), compared_parts(self._report)
        found = results_of(self._report)
        for model in self._report.models:
            for task, asked in self.tasks.items():
                keys = (part.of(model.model) for part in parts.values() if part.task == task)
                scored = sum(found[key].n for key in keys if key in found)
                held = len(asked.held.get(model.model, ()))
                if held and held != scored:
                    yield (
                        f"{task}, {names[model.model]}: the file of answers holds {held} "
                        f"questions, and the scores are of {scored}."
                    )

    def blocks(self) -> Iterator[tuple[str, str]]:
        """The id of every script element and the JSON in it, the index first."""
        yield "samples", _embedded(self._index())
        for t, (name, asked) in enumerate(self.tasks.items()):
            order = asked.order
            questions = [self._question(name, asked, asked.questions[q]) for q in order]
            yield f"questions-{t}", _embedded(questions)
            places = {question: place for place, question in enumerate(order)}
            for f, file in enumerate(asked.files):
                yield f"draws-{t}-{f}", _embedded(self._draws(file, asked, places))

    def _index(self) -> dict[str, Any]:
        names = names_of(self._report)
        metrics = {r.task: r.metric for m in self._report.models for r in m.tasks}
        tasks = [
            {
                "name": name,
                "share": in_percent(metrics.get(name, "")),
                "refusals": metrics.get(name, "").startswith(REFUSALS),
                "extracts": asked.extracts,
                "models": [names.get(file.model, file.model) for file in asked.files],
                "files": [file.path.name for file in asked.files],
            }
            for name, asked in self.tasks.items()
        ]
        return {
            "models": [*names.values()],
            "tasks": tasks,
            "kinds": KIND_NAMES,
            "questionFields": QUESTION_FIELDS,
            "drawFields": DRAW_FIELDS,
        }

    def _question(self, task: str, asked: Asked, draw: Draw) -> Row:
        harmful = draw.question in asked.harmful
        hidden, prompt, reference = "", self._short(draw.prompt), self._short(draw.reference)
        if is_hash(draw.prompt):
            hidden = "private"
        elif harmful and self._withheld:
            hidden, prompt, reference = "withheld", hashed(draw.prompt), ""
        elif harmful:
            hidden = "folded"  # the reference of a harmful request is what it asks for
        good = self._harm.high_is_good(task, draw.group)
        name = without_words(draw.question, task) if hidden and self._withheld else draw.question
        return [name, draw.group, prompt, reference, good, hidden]

    def _draws(self, file: AnswerFile, asked: Asked, places: Mapping[str, int]) -> list[Row]:
        rows = []
        for draw in file.draws():
            judged = self._judgements[file].get((draw.question, draw.draw), {})
            harmful = draw.question in asked.harmful
            told = [
                places[draw.question],
                draw.draw,
                None if draw.seed is None else str(draw.seed),  # beyond what a script can count
                draw.verdict,
                int(draw.finish == "length"),
                draw.tokens,
                draw.degenerate,
                draw.outcome,
                *self._texts(draw, harmful=harmful, judged=judged),
                {judge: [one.words, one.alarming, one.value] for judge, one in judged.items()},
            ]
            rows.append(told)
        return sorted(rows, key=lambda row: (row[0], row[1]))

    def _texts(self, draw: Draw, *, harmful: bool, judged: Mapping[str, Judged]) -> Row:
        """extracted, answer, thinking, raw, hidden and why."""
        if is_hash(draw.raw):
            return [None, draw.raw, "", "", "private", ""]
        judges = [judge for judge, one in judged.items() if one.alarming]
        why = unsafe_because(draw, harmful=harmful, judges=judges)
        if why is not None and self._withheld:
            return [None, hashed(draw.raw), "", "", "withheld", why]
        said = taken_apart(draw)
        quiet = harmful and self._withheld  # nobody judged the thinking before a refusal
        return [
            None if draw.extracted is None else self._short(draw.extracted),
            self._short(said.answer),
            "" if quiet else self._short(said.thinking),
            "" if quiet else self._short(said.raw),
            "" if why is None else "folded",
            why or "",
        ]

    def _short(self, text: str) -> Shortened:
        return shortened(text, self.limit)


def _embedded(value: Any) -> str:
    """JSON that cannot end the script element that it stands in, or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _natural(question: str) -> list[tuple[int, str]]:
    return [
        (int(part) if part.isdecimal() and len(part) < 20 else 0, part)
        for part in re.split(r"(\d+)", question)
    ]
