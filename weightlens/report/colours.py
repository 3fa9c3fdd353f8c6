"""Colours: one a module, and a scale about chance; all of them legible on white and on black."""

from collections.abc import Iterable

MODULES = (
    "#3a80c9", "#d9701a", "#3c9650", "#d1495b", "#8d68c6", "#1c959c",
    "#c8559d", "#a0714f", "#85871f", "#6a7f9c", "#e0603a", "#5a8f8a",
)  # fmt: skip
COLUMN, ROW, BOTH = "#d1495b", "#2e86ab", "#8d5a97"
GREY = "#7f8c9a"
CELL_INK = "#000000"
"""Of numbers on the colours about chance: none of those is too dark for it."""
_BELOW, _CHANCE, _ABOVE = (62, 132, 200), (247, 247, 247), (218, 74, 62)


def module_colours(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each label, in their order; they come round again after the twelfth."""
    names = list(dict.fromkeys(labels))
    return {name: MODULES[i % len(MODULES)] for i, name in enumerate(names)}


def about_chance(ratio: float) -> str:
    """Blue at 0, white at 1 (chance), red from 2 on, as #rrggbb."""
    end = _BELOW if ratio < 1 else _ABOVE
    t = min(abs(ratio - 1), 1.0)
    red, green, blue = (round(a + t * (b - a)) for a, b in zip(_CHANCE, end, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def about_zero(z: float) -> str:
    """The same for a z: white at 0, and as far from it as 10 standard deviations in full colour."""
    return about_chance(max(1 + z / 10, 0.0))
