"""Merges and adapters of the embedded models, for cards."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.merge.engine import run_merge

STRIP = """\
# kept at {home}/notes/strip.txt
merge_method: strip
base_model: {base}
models:
  - model: {tuned}
    parameters: {{weight: 1.0}}
parameters: {{side: row, energy: 0.5, target: chance}}
dtype: float32
out_dtype: bfloat16
"""
ADAPTER = """\
merge_method: task_arithmetic
base_model: {base}
models:
  - model: {base}+{tuned}
    parameters: {{weight: 0.8}}
transforms:
  - strip: {{side: column, energy: 0.5, target: chance}}
dtype: float32
output: adapter
"""


def copied(folder: Path, cards: Mapping[str, str]) -> Path:
    """The embedded models in a folder, some of them with the metadata of a card."""
    shutil.copytree(SHIPPED, folder)
    for name, metadata in cards.items():
        (folder / name / "README.md").write_text(f"---\n{metadata}\n---\n\n# {name}\n")
    return folder


def merged(models: Path, out: Path, recipe: str = STRIP, tuned: str = "safe-full") -> Path:
    """A merge of one fine-tune, as a model or as an adapter."""
    text = recipe.format(base=models / "base", tuned=models / tuned, home=models.parent)
    file = out.with_suffix(".yaml")
    file.write_text(text)
    run_merge(file, out, sync=False)
    return out
