"""The cheap probe: two models read the same answers, before any benchmark is run."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from weightlens.errors import EvaluationError
from weightlens.evaluate.drift.reading import (
    Encoded,
    Speaker,
    Sums,
    batches,
    context,
    encode,
    read_alone,
    read_together,
    tokens,
)
from weightlens.evaluate.drift.result import Drift, TraceDrift, Unit, summarise
from weightlens.evaluate.drift.traces import Trace

Progress = Callable[[int, int], None]
"""Told the traces measured and their total."""


@dataclass(frozen=True)
class Probe:
    """What is to be read: the traces as the base's tokens, and as the model's where those differ.

    unit: token where both models read the same tokens, else character. left_out: traces whose
    prompt alone fills the context. notes: why something is missing, in words.
    """

    base: Speaker
    model: Speaker
    ours: tuple[Encoded, ...]
    theirs: tuple[Encoded, ...]
    unit: Unit
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def drift(
    base: Speaker,
    model: Speaker,
    traces: Sequence[Trace],
    *,
    batch_tokens: int = 2048,
    progress: Progress = lambda done, total: None,
) -> Drift:
    """How far a model has moved from its base on given answers, with 95 % intervals by trace.

    Both read every prompt as the base's chat template renders it, and then the answer; measured
    are the answer's tokens alone. Where the two split the text into different tokens, each reads
    it by its own template and in its own tokens, the negative log-likelihood is per character, and
    there is no KL. An answer that runs over the context is cut (left out where the tokens
    differ). batch_tokens: tokens of a batch, padding included; it changes rounding alone.

    Raises EvaluationError for no traces, an id that two share, logits that are not finite, and
    traces none of which fits the context.
    """
    probe = prepare(base, model, traces)
    read = measure(probe, batch_tokens=batch_tokens, progress=progress)
    measured = {found.trace: found for found in read}
    return summarise(
        base.label,
        model.label,
        [measured[trace.id] for trace in traces if trace.id in measured],
        unit=probe.unit,
        left_out=probe.left_out,
        notes=probe.notes,
    )


def prepare(base: Speaker, model: Speaker, traces: Sequence[Trace]) -> Probe:
    """Encodes the traces for both. Raises EvaluationError for none, or an id that two share."""
    if not traces:
        raise EvaluationError("drift is measured on traces, and there are none")
    if len({trace.id for trace in traces}) != len(traces):
        raise EvaluationError("two traces share an id; their results could not be told apart")
    prompts = [base.render(trace.prompt) for trace in traces]
    ours = [encode(base, *pair) for pair in zip(traces, prompts, strict=True)]
    reason = _differ(base, model, ours, prompts)
    if not reason:
        return _of_tokens(base, model, ours)
    theirs = [encode(model, trace, model.render(trace.prompt)) for trace in traces]
    return _of_characters(base, model, ours, theirs, reason)


def measure(
    probe: Probe,
    *,
    batch_tokens: int = 2048,
    done: Collection[str] = (),
    progress: Progress = lambda done, total: None,
) -> Iterator[TraceDrift]:
    """Every trace that is not done yet, in batches of like length.

    Raises EvaluationError for logits that are not finite.
    """
    theirs = {item.trace.id: item for item in probe.theirs}
    wanted = [item for item in probe.ours if item.trace.id not in done]
    finished = len(probe.ours) - len(wanted)
    progress(finished, len(probe.ours))
    for batch in batches(wanted, batch_tokens):
        if probe.unit == "token":
            sums = read_together(probe.base, probe.model, batch)
        else:
            ours = read_alone(probe.base, batch)
            others = read_alone(probe.model, [theirs[item.trace.id] for item in batch])
            sums = [Sums(*pair) for pair in zip(ours, others, strict=True)]
        for item, found in zip(batch, sums, strict=True):
            yield _per_unit(probe, item, found)
        finished += len(batch)
        progress(finished, len(probe.ours))


def _of_tokens(base: Speaker, model: Speaker, ours: Sequence[Encoded]) -> Probe:
    limit = _context(base, model)
    fitting = [_cut(item, limit) for item in ours]
    kept = tuple(item for item in fitting if item is not None)
    left_out = tuple(
        item.trace.id for item, cut in zip(ours, fitting, strict=True) if cut is None
    )  # fmt: skip
    template = base.tokenizer.chat_template != model.tokenizer.chat_template
    notes = ("the chat templates differ: both read the base's",) if template else ()
    return Probe(base, model, kept, (), "token", left_out, notes)


def _of_characters(
    base: Speaker,
    model: Speaker,
    ours: Sequence[Encoded],
    theirs: Sequence[Encoded],
    reason: str,
) -> Probe:
    # a cut would fall on different characters for the two
    limit = _context(base, model)
    fits = [
        limit is None or max(len(a.tokens), len(b.tokens)) <= limit
        for a, b in zip(ours, theirs, strict=True)
    ]
    return Probe(
        base,
        model,
        tuple(item for item, kept in zip(ours, fits, strict=True) if kept),
        tuple(item for item, kept in zip(theirs, fits, strict=True) if kept),
        "character",
        tuple(item.trace.id for item, kept in zip(ours, fits, strict=True) if not kept),
        (f"no KL, which compares the same tokens: {reason}",),
    )


def _differ(
    base: Speaker, model: Speaker, ours: Sequence[Encoded], prompts: Sequence[str]
) -> str:  # fmt: skip
    """Why the two do not share a tokenizer; "" where they do, tokens that one has more aside."""
    first, second = base.tokenizer.get_vocab(), model.tokenizer.get_vocab()
    fewer, more = sorted((first, second), key=len)
    moved = next((token for token, number in fewer.items() if more.get(token) != number), None)
    if moved is not None:
        return (
            f"base and model have different tokenizers (token {moved!r} is number "
            f"{first.get(moved, 'none')} in one, {second.get(moved, 'none')} in the other)"
        )
    for item, prompt in zip(ours, prompts, strict=True):
        if tokens(model, prompt) + tokens(model, item.trace.answer) != item.tokens:
            return f"base and model split trace {item.trace.id} differently"
    return ""


def _context(base: Speaker, model: Speaker) -> int | None:
    known = [length for length in (context(base), context(model)) if length is not None]
    return min(known, default=None)


def _cut(item: Encoded, limit: int | None) -> Encoded | None:
    if limit is None or len(item.tokens) <= limit:
        return item
    if item.begins >= limit:
        return None
    return Encoded(item.trace, item.tokens[:limit], item.begins, cut=True)


def _per_unit(probe: Probe, item: Encoded, sums: Sums) -> TraceDrift:
    units = item.measured if probe.unit == "token" else len(item.trace.answer)
    found = TraceDrift(
        trace=item.trace.id,
        kind=item.trace.kind,
        tokens=item.measured,
        characters=len(item.trace.answer),
        nll_base=sums.nll_base / units,
        nll_model=sums.nll_model / units,
        kl=None if sums.kl is None else sums.kl / units,
        cut=item.cut,
    )
    values = (found.nll_base, found.nll_model, found.kl or 0.0)
    if not all(math.isfinite(value) for value in values):
        raise EvaluationError(
            f"{probe.base.label} and {probe.model.label}: logits of trace {item.trace.id} hold NaN "
            "or rule out what the answer says; load the models in float32, or leave the trace out"
        )
    return found
