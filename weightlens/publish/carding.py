"""The model card of a folder that is about to be published, written by the report."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from weightlens.publish.contents import CARD

_CARD = "weightlens.report.card"
"""Looked for, since a build without it is to push as well."""


def write_card(folder: Path, repo: str) -> None:
    """Writes the card where there is none; one that is there is never overwritten.

    repo: where the model will lie. Where the report cannot write cards, nothing is written, and
    the push says what is missing.
    """
    if not (folder / CARD).exists() and find_spec(_CARD) is not None:
        import_module(_CARD).write_card(folder, repo=repo)
