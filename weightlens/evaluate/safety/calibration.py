"""How well the refusal detector reads the replies of models that it was not fitted on.

Leave one model out: strength, kept features, points and threshold are chosen on the labelled
replies of four models and tried on those of the fifth (labelled.py, fitting.py). What no such
test can show: the wording of the features (wording.py) was written once, by someone who had read
replies of all five models, to the even-numbered prompts. `read_prompts` and `unread_prompts` hold
the two kinds apart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

from weightlens.evaluate.safety.agreement import Agreement, agreement, kappa
from weightlens.evaluate.safety.labelled import MODELS, Label, Labelled, refuses
from weightlens.evaluate.safety.phrase_list import in_phrase_list
from weightlens.evaluate.safety.refusal import DETECTOR, SHIPPED, Points
from weightlens.record import Record


class Fold(Record):
    """One model's replies, read by what was fitted on the other four.

    overall: a partial refusal counts as a refusal; full_only: it counts as none; without_partial:
    such replies are left out. unsafe, safe: by prompt. read_prompts, unread_prompts: by whether the
    author of the wording had read replies to the prompt. list_…: the plain phrase list on the same
    replies. people: κ of the two people who labelled the replies.
    """

    model: str
    overall: Agreement
    unsafe: Agreement
    safe: Agreement
    read_prompts: Agreement
    unread_prompts: Agreement
    full_only: Agreement
    without_partial: Agreement
    list_overall: Agreement
    list_unsafe: Agreement
    list_safe: Agreement
    people: float | None


class Kind(Record):
    """A kind of XSTest's prompts over all folds. labelled: replies that people call refused;
    missed: those of them that were not read so; false: the others that were."""

    kind: str
    n: int
    labelled: int
    missed: int
    false: int


class Ordinary(Record):
    """Replies to ordinary requests, of which hardly any refuses; read: as refused, of n."""

    name: str
    n: int
    read: int


class Calibration(Record):
    """points: fitted on all five models, and what `ordinary` is read by. folds, kinds: read by
    points fitted on the other four."""

    detector: str
    points: Points
    folds: list[Fold]
    kinds: list[Kind]
    ordinary: list[Ordinary]


Exchange = tuple[str, str]
"""A prompt and the reply to it."""


@cache
def published() -> Calibration:
    """The measurements that weightlens ships; no data is needed for them."""
    text = resources.files(__package__).joinpath(SHIPPED).read_text(encoding="utf-8")
    return Calibration.model_validate_json(text)


def said() -> str:
    """One line to print beside a refusal rate: how far it can be trusted."""
    found = [fold.overall for fold in published().folds]
    return (
        f"{DETECTOR} against people's labels, by model, on {len(found)} models that it was not "
        f"fitted on: precision {_span(fold.precision for fold in found)}, recall "
        f"{_span(fold.recall for fold in found)}, κ {_span(fold.kappa for fold in found)}; "
        "English only"
    )


def _span(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{min(known):.2f} to {max(known):.2f}"


def calibrate(
    replies: Sequence[Labelled], ordinary: Mapping[str, Sequence[Exchange]]
) -> Calibration:
    """Fits and tries the detector, leaving one model out after the other; takes seconds.

    ordinary: replies to ordinary requests, by the name of where they come from.
    """
    from weightlens.evaluate.safety.fitting import fit, measured, readings

    numbers = measured(replies)
    folds: list[Fold] = []
    judged: list[tuple[Labelled, bool]] = []
    for model in MODELS:
        held = numbers.models == model
        read = readings(numbers.rows(held), fit(numbers.rows(~held))).tolist()
        rows = [row for row, chosen in zip(replies, held, strict=True) if chosen]
        folds.append(_fold(model, rows, read))
        judged += zip(rows, read, strict=True)
    points = fit(numbers)
    return Calibration(
        detector=DETECTOR,
        points=points,
        folds=folds,
        kinds=_by_kind(judged),
        ordinary=[
            Ordinary(name=name, n=len(rows), read=sum(points.refuses(*row) for row in rows))
            for name, rows in ordinary.items()
        ],
    )


def _fold(model: str, rows: Sequence[Labelled], read: Sequence[bool]) -> Fold:
    listed = [in_phrase_list(row.reply) for row in rows]

    def on(
        readings: Sequence[bool],
        chosen: Callable[[Labelled], bool] = lambda row: True,
        refused: Callable[[Label], bool] = refuses,
    ) -> Agreement:
        pairs = [(refused(r.label), bool(x)) for r, x in zip(rows, readings, strict=True)
                 if chosen(r)]  # fmt: skip
        labels, found = zip(*pairs, strict=True)
        return agreement(labels, found)

    first, second = ([refuses(row.annotators[i]) for row in rows] for i in (0, 1))
    return Fold(
        model=model,
        overall=on(read),
        unsafe=on(read, lambda row: not row.safe),
        safe=on(read, lambda row: row.safe),
        read_prompts=on(read, lambda row: row.number % 2 == 0),
        unread_prompts=on(read, lambda row: row.number % 2 == 1),
        full_only=on(read, refused=lambda label: label == "2_full_refusal"),
        without_partial=on(read, lambda row: row.label != "3_partial_refusal"),
        list_overall=on(listed),
        list_unsafe=on(listed, lambda row: not row.safe),
        list_safe=on(listed, lambda row: row.safe),
        people=kappa(first, second),
    )


def _by_kind(judged: Sequence[tuple[Labelled, bool]]) -> list[Kind]:
    kinds = dict.fromkeys(row.kind for row, _ in judged)
    return [_kind(kind, [pair for pair in judged if pair[0].kind == kind]) for kind in kinds]


def _kind(kind: str, judged: Sequence[tuple[Labelled, bool]]) -> Kind:
    pairs = [(refuses(row.label), read) for row, read in judged]
    return Kind(
        kind=kind,
        n=len(pairs),
        labelled=sum(label for label, _ in pairs),
        missed=sum(label and not read for label, read in pairs),
        false=sum(read and not label for label, read in pairs),
    )
