"""Which step of training a checkpoint belongs to."""

import json
import re
from pathlib import Path

_NAMED = re.compile(r"(?:checkpoint|global_step|step|iter)[-_]?(\d+)$")


def step_of(folder: Path) -> int | None:
    """From `trainer_state.json`, else from the folder's name (`checkpoint-500`); None without."""
    recorded = _recorded_step(folder / "trainer_state.json")
    named = _NAMED.search(folder.resolve().name)
    return int(named[1]) if recorded is None and named else recorded


def _recorded_step(file: Path) -> int | None:
    """None where there is no state that can be read: it only labels a curve, so it is no error."""
    try:
        step = json.loads(file.read_text(encoding="utf-8")).get("global_step")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return step if isinstance(step, int) else None
