"""`--source NAME=MODEL`: where models of a recipe are to be had from."""

from collections.abc import Sequence


def named_places(given: Sequence[str]) -> dict[str, str]:
    """By the recipe's names. Raises InputError for what is no NAME=MODEL."""
    from weightlens.errors import InputError

    found = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not (name and equals and place):
            raise InputError(f"--source {text}: write NAME=MODEL, NAME as the recipe has it")
        found[name] = place
    return found
