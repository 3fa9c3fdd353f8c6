"""Which plan it is: a hash of everything that the output of a merge depends on.

Two runs with the same hash write the same tensors, so the one can go on where the other stopped.
Sources count by the names, sizes and times of their files: reading them takes as long as merging.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import xxhash

from weightlens.device import CPU
from weightlens.hub import Resolved
from weightlens.merge.plan import Plan
from weightlens.merge.resolution import Resolution
from weightlens.version import VERSION

_FILES = (".safetensors", ".bin", ".json")


def plan_hash(
    plan: Plan, models: Sequence[Resolved], *, seed: int, device: torch.device = CPU
) -> str:
    """xxh3-128 in hexadecimal. models: in the order in which the recipe names them. device: that of
    matrices, which are rounded otherwise on a GPU."""
    facts = {
        "weightlens": VERSION,
        "torch": torch.__version__,
        "seed": seed,
        "device": device.type,
        "recipe": _recipe(plan.resolution),
        "jobs": [(job.name, job.kind, job.info.shape, str(job.info.dtype)) for job in plan.jobs],
        "models": [
            (at.label, at.commits, [_files(folder) for folder in at.folders]) for at in models
        ],
    }
    return xxhash.xxh3_128_hexdigest(json.dumps(facts, sort_keys=True).encode())


def _recipe(resolution: Resolution) -> dict[str, object]:
    """What the recipe comes to; its comments and its layout do not count."""
    return {
        "recipe": resolution.recipe.model_dump(mode="json"),
        "transforms": [transform.model_dump() for transform in resolution.transforms],
    }


def _files(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix in _FILES and file.is_file():
            status = file.stat()
            found.append((file.name, status.st_size, status.st_mtime_ns))
    return found
