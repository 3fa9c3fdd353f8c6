"""The results on a page of samples: scores and differences, with buttons that lead to samples."""

from collections.abc import Iterator, Sequence
from html import escape

from weightlens.evaluate.result import EvalReport, PairResult, TaskResult
from weightlens.report.eval_parts import (
    NO_KINDS,
    Kinds,
    Part,
    besides,
    compared_parts,
    figure,
    in_words,
    interval,
    names_of,
    p_value,
    parts_of,
    results_of,
)


def scores_table(report: EvalReport, kinds: Kinds = NO_KINDS) -> str:
    """A row a model, a column for every task or group of it. kinds: of degeneration."""
    parts, found = parts_of(report), results_of(report)
    head = "".join(f"<th scope='col'>{_about(part)}</th>" for part in parts)
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        + "".join(
            f"<td>{_cell(part, found.get(part.of(model)), kinds, model)}</td>" for part in parts
        )
        + "</tr>"
        for model, name in names_of(report).items()
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='scores'>"
        f"<table class='scores'><thead><tr><th scope='col'>model</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _about(part: Part) -> str:
    lines = (f"{part.metric} {part.direction}", part.size)
    return escape(part.label) + "".join(f"<br><small>{escape(line)}</small>" for line in lines)


def _cell(part: Part, result: TaskResult | None, kinds: Kinds, model: str) -> str:
    if result is None:
        return "–"
    lines = besides(result, part, kinds.get((model, part.task, part.group), {}))
    value = (
        f"{figure(result.value, result.metric)} <small class='interval'>{interval(result)}</small>"
    )
    return value + "".join(f"<br><small>{escape(line)}</small>" for line in lines)


def pairs_table(report: EvalReport, *, linked: bool = True) -> str:
    """A row for every two models and part of a task; empty where nothing was compared.

    linked: whether the page shows the samples too, which buttons then lead to.
    """
    if not report.pairs:
        return ""
    adjusted = any(pair.p_adjusted is not None for pair in report.pairs)
    of_p = "p (Holm)" if adjusted else "p"
    words = ("model", "against", "task", "difference")
    head = "".join(f"<th scope='col' class='left'>{name}</th>" for name in words)
    head += "".join(f"<th scope='col'>{name}</th>" for name in (of_p, "lower", "higher"))
    rows = "".join(
        f"<tr>{''.join(_pair(report, pair, of_p, linked))}</tr>" for pair in report.pairs
    )
    click = "; click to read them" if linked else ""
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='differences'>"
        f"<table class='pairs'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        "<p class='note'>Paired by question. Lower and higher: questions on which the model scores "
        f"lower, or higher, than the one that it is compared with{click}.</p>"
    )


def _pair(report: EvalReport, pair: PairResult, of_p: str, linked: bool) -> Iterator[str]:
    names, parts = names_of(report), compared_parts(report)
    part = parts.get((pair.task, pair.group))
    metric, label = (part.metric, part.label) if part else ("", pair.task)
    a, b = names.get(pair.a, pair.a), names.get(pair.b, pair.b)
    yield f"<td class='left'><b>{escape(b)}</b></td>"
    yield f"<td class='left' data-name='against'>{escape(a)}</td>"
    yield f"<td class='left'>{escape(label)}</td>"
    yield f"<td class='words'>{escape(in_words(pair, metric))}</td>"
    p = pair.p if pair.p_adjusted is None else pair.p_adjusted
    yield f"<td data-name='{of_p}'>{escape(p_value(p))}</td>"
    better = ("a", "b") if part is None or part.higher_is_better else ("b", "a")
    for name, count, show in zip(("lower", "higher"), (pair.a_only, pair.b_only), better,
                                 strict=True):  # fmt: skip
        shown = _flips(count, pair, (a, b), show) if linked else str(count)
        yield f"<td data-name='{name}'>{shown}</td>"


def _flips(count: int, pair: PairResult, models: Sequence[str], better: str) -> str:
    """A button to the questions on which one of the two models is better."""
    if not count:
        return "0"
    a, b = map(escape, models)
    words = f"{count} questions of {pair.task} on which {models[better == 'b']} is better"
    return (
        f"<button type='button' class='flips' data-task='{escape(pair.task)}' "
        f"data-group='{escape(pair.group)}' data-a='{a}' data-b='{b}' "
        f"data-show='{better}' aria-label='{escape(words)}'>{count}</button>"
    )
