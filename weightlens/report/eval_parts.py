"""What an evaluation's tables share: which columns there are, and how a result is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weightlens.evaluate.drift.result import drift_sentence
from weightlens.evaluate.result import EvalReport, PairResult, TaskResult
from weightlens.evaluate.safety.calibration import said
from weightlens.evaluate.safety.refusal import METRIC
from weightlens.evaluate.significance import signed_points
from weightlens.report.names import short_models
from weightlens.report.numbers import number, percent

Kinds = Mapping[tuple[str, str, str], Mapping[str, float]]
"""By model, task and group, the share of the draws that degenerated in each way."""

NO_KINDS: Kinds = {}
Found = Mapping[tuple[str, str, str, str], TaskResult]
"""Results by model, task, group and metric."""

_TOLD = ("draws", "temperature", "top_p", "max_new_tokens", "seed", "backend", "device", "dtype")
KIND_NAMES = {"empty": "empty", "looping": "looping", "language": "wrong language"}
"""Of degeneration, as a reader calls them."""

_OF_QUESTIONS = ("pass@", "avg@", "maj@", "cons@", "any@", "all@")
_LIKELIHOODS = ("nats", "bits", "nll", "kl", "perplexity")


@dataclass(frozen=True)
class Part:
    """What has a score of its own: a task, or a group of it."""

    task: str
    group: str
    metric: str
    higher_is_better: bool
    n: int
    draws: int

    def of(self, model: str) -> tuple[str, str, str, str]:
        """Where a model's result stands among all."""
        return model, self.task, self.group, self.metric

    def goodness(self, value: float) -> float:
        """A value, or a difference of two, so that more of it is better."""
        return value if self.higher_is_better else -value

    @property
    def label(self) -> str:
        """Its name."""
        return f"{self.task} {self.group}".rstrip()

    @property
    def direction(self) -> str:
        """Whether much of it is good."""
        return "↑" if self.higher_is_better else "↓ lower is better"

    @property
    def size(self) -> str:
        """How many questions, and how many answers to each where there are several."""
        return size(self.n, self.draws)


def size(n: int, draws: int) -> str:
    """Questions, and answers to each where there are several."""
    return f"n = {n}" if draws == 1 else f"n = {n} × {draws} draws"


def parts_of(report: EvalReport) -> list[Part]:
    """All that some model has a score of, in the order in which it is first named."""
    found: dict[tuple[str, str, str], Part] = {}
    for model in report.models:
        for t in model.tasks:
            part = Part(t.task, t.group, t.metric, t.higher_is_better, t.n, t.draws)
            found.setdefault((t.task, t.group, t.metric), part)
    return list(found.values())


def compared_parts(report: EvalReport) -> dict[tuple[str, str], Part]:
    """By task and group the part that models are compared on: its first metric."""
    found: dict[tuple[str, str], Part] = {}
    for part in parts_of(report):
        found.setdefault((part.task, part.group), part)
    return found


def results_of(report: EvalReport) -> Found:
    """Every result by model, task, group and metric."""
    return {(m.model, t.task, t.group, t.metric): t for m in report.models for t in m.tasks}


def names_of(report: EvalReport) -> dict[str, str]:
    """A short name for every model."""
    models = [model.model for model in report.models]
    return dict(zip(models, short_models(models), strict=True))


def drift_told(report: EvalReport) -> Iterator[str]:
    """The drift of every model in a sentence."""
    names = names_of(report)
    for drift in report.drift:
        model, base = (names.get(name, name) for name in (drift.model, drift.base))
        yield f"Drift of {model} from {base}: {drift_sentence(drift)}"


def told(report: EvalReport) -> Iterator[str]:
    """What a reader must know besides the numbers: how far refusal rates can be trusted, whether
    over-refusal is missing beside them, and the report's own notes."""
    results = [result for model in report.models for result in model.tasks]
    if any(result.metric == METRIC for result in results):
        yield f"Refusals: {said()}"
    ways = {r.higher_is_better for r in results if r.metric.startswith("refusal_rate")}
    if ways == {True}:
        yield (
            "Over-refusal was not measured, and whoever refuses everything refuses best: ask "
            "xstest, which has both."
        )
    yield from report.notes


def in_percent(metric: str) -> bool:
    """Whether a metric is a share. What is measured in nats or bits is not."""
    return not any(name in metric.lower().replace("_", " ").split() for name in _LIKELIHOODS)


def figure(value: float, metric: str) -> str:
    """One number of a metric: shares in per cent, without the sign."""
    return f"{100 * value:.1f}" if in_percent(metric) else number(value)


def signed_figure(value: float, metric: str) -> str:
    """A difference of two such numbers, in points where they are shares."""
    if in_percent(metric):
        return signed_points(value)
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"


def interval(result: TaskResult) -> str:
    """The 95 % interval."""
    low, high = (figure(bound, result.metric) for bound in result.ci95)
    return f"[{low}, {high}]"


def score(result: TaskResult) -> str:
    """The value with its 95 % interval; as wide as 100.0, so that values stand below each other."""
    return f"{figure(result.value, result.metric):>5} {interval(result)}"


def besides(result: TaskResult, part: Part, kinds: Mapping[str, float]) -> Iterator[str]:
    """What stands beside a score: other questions than the part's, further figures, and truncated
    and degenerate draws. kinds: of degeneration."""
    if (result.n, result.draws) != (part.n, part.draws):
        yield size(result.n, result.draws)
    yield from _further(result)
    yield from _remarks(result, kinds)


def _remarks(result: TaskResult, kinds: Mapping[str, float]) -> Iterator[str]:
    if result.truncated:
        yield f"{percent(result.truncated)} truncated"
    if result.degenerate:
        known = ", ".join(f"{percent(v)} {KIND_NAMES.get(k, k)}" for k, v in kinds.items() if v)
        yield f"{percent(result.degenerate)} degenerate" + (f" ({known})" if known else "")


def _further(result: TaskResult) -> Iterator[str]:
    questions = {n: v for n, v in result.more.items() if n.startswith(_OF_QUESTIONS)}
    if questions:
        yield ", ".join(f"{name} {100 * value:.1f}" for name, value in questions.items())
    for name, value in result.more.items():
        if name in questions:
            continue
        if "spread" in name and in_percent(result.metric):
            yield f"{name.replace('_', ' ')} {100 * value:.1f} points"
        else:
            yield f"{name.replace('_', ' ')} {number(value)}"


def in_words(pair: PairResult, metric: str) -> str:
    """The pair's sentence, or its numbers where it has none."""
    if pair.sentence:
        return pair.sentence
    low, high = (signed_figure(bound, metric) for bound in pair.ci95)
    unit = " points" if in_percent(metric) else ""
    return (
        f"{signed_figure(pair.difference, metric)}{unit}, 95 % {low} to {high}; this set could "
        f"have shown {figure(pair.detectable, metric)}"
    )


def p_value(value: float) -> str:
    """Two digits, never a bare nought."""
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def described(report: EvalReport) -> str:
    """Suite and settings in a line; of the settings those that were chosen."""
    said = [f"suite {report.suite}"]
    chosen = {name: value for name, value in report.settings.items() if value is not None}
    if "split" in chosen:
        said.append(f"{chosen['split']} split")
    if "limit" in chosen:
        said.append(f"at most {chosen['limit']} questions a task")
    for name in _TOLD:
        if name in chosen:
            said.append(f"{name.replace('_', ' ')} {chosen[name]}")
    return ", ".join(said)
