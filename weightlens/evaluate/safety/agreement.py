"""How well a reading agrees with people's labels: shares, precision, recall, F1, Cohen's κ."""

from collections.abc import Sequence

from weightlens.record import Record


class Agreement(Record):
    """labelled, read: shares of n replies that people, and the reading, call refused.

    precision, recall, f1: of the reading, refused being what is looked for; kappa: Cohen's. None
    where there is nothing to divide by.
    """

    n: int
    labelled: float
    read: float
    precision: float | None
    recall: float | None
    f1: float | None
    kappa: float | None


def agreement(labels: Sequence[bool], readings: Sequence[bool]) -> Agreement:
    """Agreement of readings with labels, True for refused. Raises ValueError where there are none,
    or not as many of one as of the other."""
    n = len(labels)
    if n == 0 or n != len(readings):
        raise ValueError(f"{n} labels and {len(readings)} readings")
    labelled, read = sum(labels), sum(readings)
    both = sum(a and b for a, b in zip(labels, readings, strict=True))
    return Agreement(
        n=n,
        labelled=labelled / n,
        read=read / n,
        precision=_ratio(both, read),
        recall=_ratio(both, labelled),
        f1=_ratio(2 * both, read + labelled),
        kappa=kappa(labels, readings),
    )


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float | None:
    """Cohen's κ (Cohen 1960): agreement beyond chance, as a share of what there is beyond chance.

    None where chance alone makes both agree everywhere.
    """
    n = len(one)
    same = sum(a == b for a, b in zip(one, other, strict=True)) / n
    p, q = sum(one) / n, sum(other) / n
    chance = p * q + (1 - p) * (1 - q)
    return None if chance == 1 else (same - chance) / (1 - chance)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
