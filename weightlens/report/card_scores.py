"""The section of a card that says whether the model is any good: scores beside those of its base
and sources, and the paired differences in words."""

import re
from collections.abc import Iterator, Sequence

from weightlens.evaluate.catalogue import describe
from weightlens.evaluate.drift.result import drift_sentence
from weightlens.evaluate.result import TaskResult
from weightlens.report.card_subject import CardSubject, CardTrial
from weightlens.report.card_words import code, table
from weightlens.report.eval_markdown import escaped
from weightlens.report.eval_parts import (
    Part,
    besides,
    compared_parts,
    described,
    figure,
    in_words,
    interval,
    parts_of,
    results_of,
)

NBSP = "\u00a0"


def scores(subject: CardSubject, trials: Sequence[CardTrial]) -> Iterator[str]:
    """A table and sentences for every evaluation; without any, that nothing is known."""
    if not trials:
        yield (
            "**Not measured.** No evaluation came with this card, so nothing here says what the "
            "model can do, or what it refuses, beside its base."
        )
    for trial in trials:
        yield from _trial(subject, trial)


def _trial(subject: CardSubject, trial: CardTrial) -> Iterator[str]:
    yield _settings(trial)
    yield ""
    shared = [part for part in parts_of(trial.report) if _asked(trial, part)]
    yield from table(
        ["", *(_heading(subject, trial, label) for label in trial.names)],
        [[_about(part), *_cells(trial, part)] for part in shared],
        numbers=len(trial.names),
    )
    sentences = [*_differences(trial), *_drifts(trial)]
    if sentences:
        yield ""
        yield "Compared question by question:"
        yield ""
        yield from (f"- {sentence}" for sentence in sentences)
    about = [*_explained(trial), *map(escaped, trial.report.notes)]
    if about:
        yield ""
        yield "What was asked:"
        yield ""
        yield from (f"- {line}" for line in about)
    yield ""


def _drifts(trial: CardTrial) -> Iterator[str]:
    for drift in trial.report.drift:
        if drift.model == trial.own.model:
            base = code(trial.names.get(drift.base, drift.base))
            yield f"**drift** of this model from {base}: {escaped(drift_sentence(drift))}"


def _explained(trial: CardTrial) -> Iterator[str]:
    """The tasks that are in the catalogue, in a sentence each."""
    known = {listing.name: listing.about for listing in describe()}
    for task in dict.fromkeys(task.task for task in trial.own.tasks):
        if task in known:
            yield f"{code(task)}: {escaped(known[task])}."


def _settings(trial: CardTrial) -> str:
    limit = trial.report.settings.get("limit")
    few = " With so few questions it is a first look." if limit else ""
    return (
        f"Scores in %, with 95 % intervals, by `weightlens eval` ({described(trial.report)}).{few}"
    )


def _heading(subject: CardSubject, trial: CardTrial, label: str) -> str:
    if label == trial.own.model:
        return "**this model**"
    name = trial.names[label]
    role = next((one.role for one in subject.ingredients if one.name == name), "other")
    return f"{code(name)}<br>({role})"


def _asked(trial: CardTrial, part: Part) -> bool:
    return part.of(trial.own.model) in results_of(trial.report)


def _about(part: Part) -> str:
    metric = f"{escaped(part.metric)} {part.direction}"
    return f"{escaped(part.label)}<br>{metric}<br>{part.size.replace(' ', NBSP)}"


def _cells(trial: CardTrial, part: Part) -> Iterator[str]:
    found = results_of(trial.report)
    for label in trial.names:
        result = found.get(part.of(label))
        text = "–" if result is None else _cell(result, part)
        yield re.sub("^[^<]+", r"**\g<0>**", text) if label == trial.own.model else text


def _cell(result: TaskResult, part: Part) -> str:
    value = f"{figure(result.value, result.metric)}<br>{interval(result).replace(' ', NBSP)}"
    return "<br>".join([value, *map(escaped, besides(result, part, {}))])


def _differences(trial: CardTrial) -> Iterator[str]:
    """Of the pairs that the report compares, those of this model."""
    own, parts = trial.own.model, compared_parts(trial.report)
    for pair in trial.report.pairs:
        if own not in (pair.a, pair.b):
            continue
        part = parts.get((pair.task, pair.group))
        label = part.label if part else pair.task
        b, a = ("this model" if m == own else code(trial.names.get(m, m)) for m in (pair.b, pair.a))
        words = in_words(pair, part.metric if part else "")
        yield f"**{escaped(label)}**, {b} against {a}: {words}."
