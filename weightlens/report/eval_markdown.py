"""Evaluation results as Markdown for a pull request: GitHub's tables."""

import re
from collections.abc import Iterator, Sequence

from weightlens.evaluate.result import EvalReport, TaskResult
from weightlens.report.eval_parts import (
    NO_KINDS,
    Kinds,
    Part,
    besides,
    compared_parts,
    described,
    drift_told,
    in_words,
    names_of,
    p_value,
    parts_of,
    results_of,
    score,
    told,
)

_MOST_COLUMNS = 4
_MARKS = re.compile(r"([\\`*_\[\]|~<>&$])")


def eval_markdown(report: EvalReport, kinds: Kinds = NO_KINDS) -> str:
    """Scores with 95 % intervals, then differences with their sentences.

    A row a model, or a row for every task and model where there are many tasks. kinds: the ways in
    which answers degenerated, where the draws are at hand.
    """
    few = len(parts_of(report)) <= _MOST_COLUMNS
    lines = [f"**weightlens eval**: {escaped(described(report))}; % [95 % interval]", ""]
    lines += _wide(report, kinds) if few else _long(report, kinds)
    if report.pairs:
        lines += ["", *_differences(report)]
    remarks = [f"- {escaped(line)}" for line in (*drift_told(report), *told(report))]
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table too: no markup, no HTML, one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _wide(report: EvalReport, kinds: Kinds) -> Iterator[str]:
    parts, found = parts_of(report), results_of(report)
    yield from table_head(["model", *(_about(part, "<br>") for part in parts)], right=len(parts))
    for model, name in names_of(report).items():
        cells = [
            "<br>".join(_cell(part, found.get(part.of(model)), kinds, model)) for part in parts
        ]
        yield table_row([escaped(name), *cells])


def _long(report: EvalReport, kinds: Kinds) -> Iterator[str]:
    found = results_of(report)
    yield from table_head(["task", "model", "score", "besides"], right=0)
    for part in parts_of(report):
        about = _about(part, ", ")
        for model, name in names_of(report).items():
            value, *others = _cell(part, found.get(part.of(model)), kinds, model)
            yield table_row([about, escaped(name), value, "; ".join(others)])
            about = ""


def _about(part: Part, between: str) -> str:
    lines = (part.label, f"{part.metric} {part.direction}", part.size)
    return between.join(map(escaped, lines))


def _cell(part: Part, result: TaskResult | None, kinds: Kinds, model: str) -> Iterator[str]:
    """The score, then what stands beside it."""
    if result is None:
        yield "–"
        return
    yield score(result).strip()
    of_kinds = kinds.get((model, part.task, part.group), {})
    yield from map(escaped, besides(result, part, of_kinds))


def _differences(report: EvalReport) -> Iterator[str]:
    names, parts = names_of(report), compared_parts(report)
    adjusted = any(pair.p_adjusted is not None for pair in report.pairs)
    columns = ["model", "against", "task", "difference", "p", *(["p (Holm)"] if adjusted else []),
               "lower", "higher"]  # fmt: skip
    yield from table_head(columns, right=len(columns) - 4)
    for pair in report.pairs:
        part = parts.get((pair.task, pair.group))
        metric, label = (part.metric, part.label) if part else ("", pair.task)
        numbers = [p_value(pair.p)]
        if adjusted:
            numbers.append("–" if pair.p_adjusted is None else p_value(pair.p_adjusted))
        words = [names.get(pair.b, pair.b), names.get(pair.a, pair.a), label]
        words += [in_words(pair, metric), *numbers, str(pair.a_only), str(pair.b_only)]
        yield table_row([escaped(word) for word in words])
    yield ""
    yield (
        "Paired by question; lower and higher: questions on which the model scores lower, or "
        "higher, than the one that it is compared with."
    )


def table_head(columns: Sequence[str], *, right: int) -> Iterator[str]:
    """The head of a table. right: how many columns at the end hold numbers."""
    yield table_row(columns)
    left = len(columns) - right
    yield "|" + "---|" * left + "--:|" * right


def table_row(cells: Sequence[str]) -> str:
    """A line of a table, its cells as they are."""
    return "| " + " | ".join(cells) + " |"
