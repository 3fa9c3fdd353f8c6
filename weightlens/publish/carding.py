"""The model card of a folder that is about to be published, written by the report."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_CARD = "weightlens.report.card"


def write_card(folder: Path) -> None:
    """Writes README.md where there is none; one that is there is never overwritten.

    Where the report cannot write cards, nothing is written, and the push says what is missing.
    """
    if not (folder / "README.md").exists() and find_spec(_CARD) is not None:
        import_module(_CARD).write_card(folder)
