"""The licence of a merge, derived from those of what went in."""

import pytest

from weightlens.errors import InputError
from weightlens.report.licences import Licence, derived, given, of_card

APACHE, NC = Licence("apache-2.0"), Licence("cc-by-nc-4.0")
OWN = Licence("other", "our-licence", "https://example.org/licence")


def test_equal_licences_are_the_merges() -> None:
    found = derived({"base": APACHE, "tuned": APACHE})
    assert (found.licence, found.known) == (APACHE, True)


def test_different_ones_are_unknown_and_named() -> None:
    found = derived({"base": APACHE, "math": APACHE, "safety": NC})
    assert not found.known
    assert "base has apache-2.0, math has apache-2.0, safety has cc-by-nc-4.0" in found.reason


def test_one_that_is_not_known_leaves_all_unknown() -> None:
    found = derived({"base": APACHE, "tuned": None})
    assert not found.known
    assert "base has apache-2.0, none is known of tuned" in found.reason


def test_other_goes_with_its_name_and_link() -> None:
    bare = Licence("other", "our-licence")
    assert derived({"base": bare, "tuned": OWN}).licence == OWN
    assert not derived({"base": Licence("other", "theirs"), "tuned": OWN}).known


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"license": "Apache-2.0 "}, APACHE),
        ({"license": ["cc-by-nc-4.0"]}, NC),
        ({"license": "other", "license_name": "our-licence", "license_link": OWN.link}, OWN),
        ({"license": "mit", "license_link": "LICENSE"}, Licence("mit")),
        ({"license": "other"}, None),
        ({"license": ["mit", "apache-2.0"]}, None),
        ({"license": "unknown"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_card_says(card: dict[str, object] | None, licence: Licence | None) -> None:
    assert of_card(card) == licence


def test_a_misspelt_identifier_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'apache-2\.0'"):
        given("apache-2")
    with pytest.raises(InputError, match="license-name and --license-link with it"):
        given("other")
    with pytest.raises(InputError, match="go with --license other"):
        given("mit", "our-licence", "LICENSE")
    assert given("MIT") == Licence("mit")
