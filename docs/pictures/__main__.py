"""Draws the pictures of docs/metrics.md: `python docs/pictures [FOLDER]`.

The folder is docs/images/metrics unless another is named. Every picture is computed by weightlens
from small matrices of a fixed seed or from the embedded models; the same versions of its libraries
draw the same bytes.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import bases
import deltas
import overlaps
import pairs
import style
import torch
from matplotlib.figure import Figure

PICTURES: dict[str, Callable[[], Figure]] = {
    "parts": overlaps.parts,
    "column": overlaps.column,
    "chance": overlaps.chance,
    "curve": overlaps.curve,
    "weighted": overlaps.weighted,
    "certificate": bases.certificate,
    "relative-norm": deltas.relative_norm,
    "ranks": deltas.ranks,
    "rounding-share": deltas.rounding_share,
    "amplification": bases.amplification,
    "intruders": bases.intruders,
    "spectrum-change": bases.change,
    "tail": bases.tail,
    "noise-rank": deltas.noise_rank,
    "rounding-floor": deltas.floor,
    "cosine": pairs.cosine,
    "sign-conflict": pairs.signs,
    "angles": pairs.angles,
    "alignment": pairs.alignment,
    "interference": pairs.interference,
    "similarity": pairs.similarity,
}


def main(folder: Path) -> None:
    """Writes all pictures into a folder, which is made where it is missing."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    with style.settings():
        for name, draw in PICTURES.items():
            style.write(draw(), folder / f"{name}.svg")


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here / "images" / "metrics")
