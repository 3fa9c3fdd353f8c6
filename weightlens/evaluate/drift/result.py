"""What drift came to: trace by trace, by kind, and in a sentence.

Every trace counts the same, by its mean per token: the traces are what was sampled, their tokens
are not independent of each other.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.drift.traces import Kind
from weightlens.evaluate.significance import LEVEL, holm
from weightlens.evaluate.statistics import Estimate, mean_estimate, paired_means
from weightlens.record import Record

Unit = Literal["token", "character"]


class TraceDrift(Record):
    """One answer under both models, in nats per unit of it.

    tokens: of the answer that were measured, as the base splits it. cut: the rest of the answer
    did not fit the context. kl: of the model from its base, KL(base || model).
    """

    trace: str
    kind: Kind
    tokens: int
    characters: int
    nll_base: float
    nll_model: float
    kl: float | None
    cut: bool = False

    @property
    def increase(self) -> float:
        """By how much the answer surprises the model more than its base."""
        return self.nll_model - self.nll_base


class Amount(Record):
    """A mean over traces; what one trace alone cannot tell is None."""

    value: float
    stderr: float | None
    ci95: tuple[float | None, float | None]


class DriftPart(Record):
    """The traces of one kind, or all of them (kind ""), n in number.

    increase: of the negative log-likelihood, model minus base, paired by trace. p: two-sided, of
    no increase. detectable: the increase that these traces would have shown four times in five.
    """

    kind: Kind | Literal[""]
    n: int
    tokens: int
    nll_base: Amount
    nll_model: Amount
    increase: Amount
    p: float
    detectable: float | None
    kl: Amount | None


class Drift(Record):
    """A model's drift from its base.

    unit: what "per" means; character where the tokenizers differ. parts: all traces, then each
    kind if there are several. left_out: traces whose prompt alone fills the context. notes: what
    else a reader must know, such as why there is no KL.
    """

    base: str
    model: str
    unit: Unit
    parts: list[DriftPart]
    traces: list[TraceDrift]
    cut: int
    left_out: list[str]
    notes: list[str]


def summarise(
    base: str,
    model: str,
    traces: Sequence[TraceDrift],
    *,
    unit: Unit = "token",
    left_out: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Drift:
    """Means and intervals by kind. Raises EvaluationError where no trace was measured."""
    if not traces:
        raise EvaluationError(
            f"{model}: no trace fits the context with its prompt; use shorter traces"
        )
    kinds = sorted({trace.kind for trace in traces})
    parts = [_part("", traces)]
    if len(kinds) > 1:
        parts += [_part(kind, [t for t in traces if t.kind == kind]) for kind in kinds]
    return Drift(
        base=base, model=model, unit=unit, parts=parts, traces=list(traces),
        cut=sum(trace.cut for trace in traces), left_out=list(left_out), notes=list(notes),
    )  # fmt: skip


def largest(drift: Drift, count: int = 3) -> list[TraceDrift]:
    """The traces that moved most, by KL, or by the increase where there is none."""

    def moved(trace: TraceDrift) -> float:
        return abs(trace.increase) if trace.kl is None else trace.kl

    return sorted(drift.traces, key=moved, reverse=True)[:count]


def drift_sentence(drift: Drift) -> str:
    """What the drift comes to, in plain words, part by part; then what was cut or left out."""
    shown = drift.parts[1:] or drift.parts
    adjusted = holm([part.p for part in shown])
    said = [_said(part, p, drift.unit) for part, p in zip(shown, adjusted, strict=True)]
    return "; ".join([*said, *caveats(drift)])


def _part(kind: Kind | Literal[""], traces: Sequence[TraceDrift]) -> DriftPart:
    before, after = [t.nll_base for t in traces], [t.nll_model for t in traces]
    difference = paired_means(before, after)
    kls = [t.kl for t in traces if t.kl is not None]
    return DriftPart(
        kind=kind, n=len(traces), tokens=sum(t.tokens for t in traces),
        nll_base=_amount(mean_estimate(before)), nll_model=_amount(mean_estimate(after)),
        increase=_amount(mean_estimate([t.increase for t in traces])),
        p=difference.p, detectable=_known(difference.detectable),
        kl=_amount(mean_estimate(kls), least=0.0) if len(kls) == len(traces) else None,
    )  # fmt: skip


def _amount(found: Estimate, least: float = -math.inf) -> Amount:
    low, high = found.ci95
    return Amount(
        value=found.value,
        stderr=_known(found.stderr),
        ci95=(_known(max(least, low)), _known(high)),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _said(part: DriftPart, p: float, unit: Unit) -> str:
    of = f"{part.kind} answers" if part.kind else "the answers"
    low, high = part.increase.ci95
    change = f"{_signed(part.increase.value)} nats per {unit}"
    kl = "" if part.kl is None else f", KL {_size(part.kl.value)} ({_interval(part.kl, _size)})"
    traces = f"{part.n} trace{'s' if part.n > 1 else ''}"
    if low is None or high is None:
        return f"{of} surprise it by {change}{kl}; {traces}, too few for an interval"
    interval = _interval(part.increase, _signed)
    if all(value == 0 for value in (part.increase.value, low, high)):
        return f"{of} are exactly as likely as under its base{kl}; {traces}"
    if (low > 0 or high < 0) and p <= LEVEL:
        more = "more" if part.increase.value > 0 else "less"
        return f"{of} surprise it {more} than its base: {change} ({interval}){kl}; {traces}"
    could = "" if part.detectable is None else f", could have shown {_size(part.detectable)}"
    return (
        f"no detectable change in how likely {of} are: {change} ({interval}){kl}; {traces}{could}"
    )


def caveats(drift: Drift) -> Iterator[str]:
    """What was cut, left out or could not be compared, in a few words each."""
    if drift.cut:
        yield f"{drift.cut} of {len(drift.traces)} answers cut at the end of the context"
    if drift.left_out:
        yield f"{len(drift.left_out)} left out, too long for the context"
    yield from drift.notes


def _interval(amount: Amount, write: Callable[[float], str]) -> str:
    low, high = amount.ci95
    if low is None or high is None:
        return "no interval"
    return f"95 % {write(low)} to {write(high)}"


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "0"


def _size(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
