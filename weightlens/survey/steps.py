"""Which step of training a checkpoint belongs to."""

import json
import re
from pathlib import Path

_NAMED = re.compile(r"(?:checkpoint|global_step|step|iter)[-_]?(\d+)$")


def step_of(folder: Path) -> int | None:
    """From `trainer_state.json`, else from the folder's name (`checkpoint-500`); None without."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        step = state.get("global_step")
        if isinstance(step, int):
            return step
    except (OSError, ValueError, AttributeError, RecursionError):
        pass  # no state, or none that can be read: the name may say it
    named = _NAMED.search(folder.resolve().name)
    return int(named[1]) if named else None
