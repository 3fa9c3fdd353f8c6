"""The section of a card about overlap: what was stripped, and what was measured apart."""

from collections.abc import Iterator, Sequence

from weightlens.merge.record import MergeReport, StripRecord, summarise_strips
from weightlens.report.card_subject import CardSubject, Measured
from weightlens.report.card_words import code, table
from weightlens.report.numbers import number, percent
from weightlens.survey.result import ModelRecord

PICTURE = "overlap.png"

_MEANING = (
    "Overlap is the share of a delta (tuned minus base) that lies in the directions which the base "
    "uses most, from 0 to 1; *chance* is what a delta of random directions would read. All are "
    "means over matrices, weighted by the size of their deltas."
)


def overlaps(subject: CardSubject, measured: Sequence[Measured], picture: bool) -> Iterator[str]:
    """Tables of what there is, and the picture."""
    record = subject.record
    stripped = list(_strips(subject, record)) if isinstance(record, MergeReport) else []
    known = [one for one in measured if one.models]
    if not stripped and not known:
        yield "Nothing was stripped, and the overlap with the base was not measured."
        return
    yield _MEANING
    if stripped:
        yield ""
        yield from stripped
    else:
        yield "Nothing was stripped."
    for one in known:
        yield ""
        yield from _measured(subject, one)
    if picture:
        yield ""
        yield f"![{_alternative(bool(stripped))}]({PICTURE})"


def _strips(subject: CardSubject, record: MergeReport) -> Iterator[str]:
    rows = [
        row for report in (*record.steps.values(), record) for row in _strip_rows(subject, report)
    ]
    if not rows:
        return
    head = ["stripped delta", "side", "chance", "before", "after", "**as written**", "matrices"]
    yield from table(head, rows, numbers=5)
    yield ""
    yield (
        "*After* is by algebra; *as written* is read off the merged delta once it was rounded to "
        "the type of the files, which can bring some overlap back."
    )


def _strip_rows(subject: CardSubject, report: MergeReport) -> Iterator[list[str]]:
    keys: dict[tuple[str, int], StripRecord] = {}
    for matrix in report.matrices:
        seen: dict[str, int] = {}
        for strip in matrix.strips:
            seen[strip.source] = seen.get(strip.source, -1) + 1
            keys.setdefault((strip.source, seen[strip.source]), strip)
    for strip, found in zip(keys.values(), summarise_strips(report), strict=True):
        numbers = [number(v) for v in (found.chance, found.before, found.after)]
        count = f"{found.matrices}"
        if found.untouched:
            count += f", {found.untouched} of them at or below the target already"
        side = found.side + (" (random, a control)" if strip.subspace == "random" else "")
        yield [code(strip.source), side, *numbers, f"**{number(found.written)}**", count]


def _measured(subject: CardSubject, one: Measured) -> Iterator[str]:
    by = one.report.subspace
    base = code(subject.base.name) if subject.base else "the base"
    yield (
        f"Measured apart with `weightlens overlap` against {base} (subspace by {by.by} "
        f"{by.value:g}):"
    )
    yield ""
    head = ["delta of", "column overlap", "÷ chance", "row overlap", "÷ chance", "rounding alone"]
    yield from table(
        head, [_row(subject, name, model) for name, model in one.models.items()], numbers=5
    )
    yield ""
    yield "*Rounding alone*: the share of the delta that rounding to the stored type would make."


def _row(subject: CardSubject, name: str, model: ModelRecord) -> list[str]:
    mean = model.summary.all
    return [
        "**this model**" if name == subject.title else code(name),
        number(mean.column_by_energy),
        _times(mean.column_over_chance),
        number(mean.row_by_energy),
        _times(mean.row_over_chance),
        percent(mean.rounding_share),
    ]


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def _alternative(stripped: bool) -> str:
    what = "before the strip and as written" if stripped else "by side"
    return (
        f"Heatmaps of the overlap over chance, layer by module, {what}: white is chance, red is "
        "more, blue is less"
    )
