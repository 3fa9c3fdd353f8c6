"""How numbers are written in tables."""

from collections.abc import Sequence
from statistics import median_high

from rich.text import Text


def number(value: float | None) -> str:
    """Three decimals, or scientific where those would be nought; – for None."""
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share in per cent, from ten on as a multiple."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if value < 10 else f"{value:.0f}×"


def ratio(value: float | None) -> Text:
    """A multiple of chance, coloured where it is well above 1."""
    if value is None:
        return Text("–")
    style = "red" if value >= 2 else "yellow" if value >= 1.25 else ""
    return Text(f"{value:.2f}×", style=style)


def median_z(values: Sequence[float | None]) -> str:
    """The median of those that exist."""
    known = [v for v in values if v is not None]
    return f"{median_high(known):+.1f}" if known else "–"


def four_wide(value: float) -> str:
    """A ratio in at most four characters: 0.98, 12.3, 123, 9999 for that and more."""
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{min(value, 9999):.0f}"


def signed(value: float) -> str:
    """A z with its sign, and one decimal where that says something."""
    return f"{value:+.1f}" if abs(value) < 99.95 else f"{value:+.0f}"
