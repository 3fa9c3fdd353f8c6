"""The model card of a folder that is about to be published, written by the report."""

from pathlib import Path

from weightlens.publish.contents import CARD
from weightlens.report import card


def write_card(folder: Path, repo: str) -> None:
    """Writes the card where there is none; one that is there is never overwritten.

    repo: where the model will lie. Raises what `report.card.write_card` raises.
    """
    if not (folder / CARD).exists():
        card.write_card(folder, repo=repo)
