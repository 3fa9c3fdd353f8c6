"""Which sources of a merge nobody else has."""

import json
from pathlib import Path

from weightlens.checkpoint.output import PROVENANCE_FILE


def local_sources(folder: Path) -> list[str]:
    """The models that a merge's record names by a folder of this machine, in its order.

    Whoever reads the record learns these paths, and cannot rebuild the merge from them.
    """
    try:
        held = json.loads((folder / PROVENANCE_FILE).read_text(encoding="utf-8"))
        records = [r for r in (held.get("base"), *held.get("sources", ())) if r is not None]
        named = {str(r["model"]): str(r.get("commit") or "local") for r in records}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return []  # no record of ours
    return [model for model, commits in named.items() if "local" in commits.split("+")]


def warning_of(folder: Path) -> list[str]:
    """One sentence about them, if there are any."""
    models = local_sources(folder)
    if not models:
        return []
    return [
        f"{PROVENANCE_FILE} names folders of this machine ({', '.join(models)}): others see these "
        "paths, and can rebuild the merge only from copies of them; name sources by their Hub ids "
        "where you can"
    ]
