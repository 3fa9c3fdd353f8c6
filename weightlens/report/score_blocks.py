"""Scores with their intervals, a block a task: refusal beside over-refusal, the merge in bold."""

from collections.abc import Iterator, Sequence

from weightlens.evaluate.result import EvalReport, TaskResult
from weightlens.report.bar_blocks import Bar, Block
from weightlens.report.eval_parts import (
    Part,
    besides,
    figure,
    in_percent,
    interval,
    names_of,
    parts_of,
    results_of,
)
from weightlens.report.subject import Trial
from weightlens.report.verdict import topic_of

_TOPICS = ("ability", "refusal", "over-refusal")


def score_blocks(report: EvalReport, trial: Trial | None = None) -> tuple[list[Block], list[Block]]:
    """Abilities; and refusals, of harmful requests before harmless ones.

    trial: which of the models is the merge, its base and its sources, where one of them is.
    """
    parts = sorted(parts_of(report), key=lambda part: _TOPICS.index(topic_of(part)))
    blocks = [(topic_of(part), _block(report, part, trial)) for part in parts]
    return (
        [block for topic, block in blocks if topic == "ability"],
        [block for topic, block in blocks if topic != "ability"],
    )


def _block(report: EvalReport, part: Part, trial: Trial | None) -> Block:
    better = "higher is better" if part.higher_is_better else "lower is better"
    unit = ", %" if in_percent(part.metric) else ""
    about = f"{part.metric}{unit} · {better} · {part.size}"
    return Block(part.label, about, [*_bars(report, part, trial)])


def _bars(report: EvalReport, part: Part, trial: Trial | None) -> Iterator[Bar]:
    found, names = results_of(report), names_of(report)
    order = [m.model for m in report.models] if trial is None else trial.order
    scored = [(model, found[part.of(model)]) for model in order if part.of(model) in found]
    scale = _scale([result for _, result in scored], part)
    for model, result in scored:
        low, high = result.ci95
        yield Bar(
            name=names[model],
            kind=kind_of(model, trial),
            value=figure(result.value, result.metric),
            interval=interval(result),
            at=result.value / scale,
            low=low / scale,
            high=high / scale,
            remark="; ".join(besides(result, part, {})),
            strong=trial is not None and model == trial.merge,
        )


def kind_of(model: str, trial: Trial | None) -> str:
    """What a model is to the merge: base, source, merge; else nothing."""
    if trial is None:
        return ""
    if model == trial.merge:
        return "merge"
    return "base" if model == trial.base else "source" if model in trial.sources else ""


def _scale(results: Sequence[TaskResult], part: Part) -> float:
    """Where bars end: 100 % for shares, else the largest there is."""
    if in_percent(part.metric):
        return 1.0
    return max((result.ci95[1] for result in results), default=1.0) or 1.0
