"""Every colour is legible where it stands."""

import pytest

from weightlens.report.colours import (
    BOTH,
    CELL_INK,
    COLUMN,
    GREY,
    MODULES,
    ROW,
    about_chance,
    module_colours,
)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """As WCAG 2.2 defines it, 1 to 21: 4.5 for text, 3 for lines."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 1.0, 1.2, 1.6, 2.0, 5.0])
def test_numbers_are_legible_on_every_block(ratio: float) -> None:
    assert contrast(CELL_INK, about_chance(ratio)) > 4.5


@pytest.mark.parametrize("background", ["#ffffff", "#12161c"])
@pytest.mark.parametrize("colour", [*MODULES, GREY, COLUMN, ROW, BOTH])
def test_lines_are_visible_in_the_light_and_in_the_dark(colour: str, background: str) -> None:
    assert contrast(colour, background) > 3


def test_chance_is_nearly_white_below_is_blue_and_above_is_red() -> None:
    assert about_chance(1.0) == "#f7f7f7"
    red, blue = about_chance(1.8), about_chance(0.2)
    assert int(red[1:3], 16) > int(red[5:], 16)
    assert int(blue[1:3], 16) < int(blue[5:], 16)
    assert about_chance(2.0) == about_chance(9.0)


def test_twelve_modules_have_colours_of_their_own() -> None:
    colours = module_colours(map(str, range(13)))
    assert len(set(colours.values())) == 12
    assert colours["0"] == colours["12"]
