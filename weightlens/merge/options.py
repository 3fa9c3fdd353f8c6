"""How a merge runs, whatever it merges."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from weightlens.device import CPU
from weightlens.factors import FactorCache
from weightlens.merge.opening import HERE
from weightlens.merge.preparing import Engine
from weightlens.merge.record import MergeReport
from weightlens.merge.running import Progress


@dataclass(frozen=True)
class Options:
    """See `run_merge`. places: where models are to be had from, by what the recipe calls them.
    idle: called now and then where there is no progress; alone: called when this process goes on
    alone, or without forking, and may have threads. steps: what the recipes before it in the same
    file came to; folders: and where that lies."""

    seed: int = 0
    overwrite: bool = False
    fresh: bool = False
    verify: bool = False
    sync: bool = True
    cache: FactorCache | None = None
    workers: int | None = None
    engine: Engine | None = None
    places: Mapping[str, str] = field(default_factory=lambda: HERE)
    progress: Progress = lambda done, total, name: None
    device: torch.device = CPU
    idle: Callable[[], None] = lambda: None
    alone: Callable[[], None] = lambda: None
    steps: Mapping[str, MergeReport] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)

    def after(self, name: str, made: MergeReport, folder: Path) -> "Options":
        """The same for the recipes that come after the one of this name."""
        return replace(
            self, steps={**self.steps, name: made}, folders={**self.folders, name: folder}
        )
