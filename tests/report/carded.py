"""Merges and adapters of the embedded models, and made-up results of them, for cards."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluated import pair, report, result

from weightlens.checkpoint.companions import content_hash
from weightlens.evaluate.result import EvalReport, ModelResult
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.merge.engine import run_merge

REFUSALS = "refusal_rate (heuristic v1)"

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


def evaluation(models: Path, out: Path, **changed: object) -> EvalReport:
    """Of the base, the full fine-tune and the merge: reasoning, and refusals of two kinds."""
    names = [str(models / "base"), str(models / "safe-full"), str(out)]
    tasks = [
        result("gsm8k", 0.6),
        result("xstest", 0.9, metric=REFUSALS, group="unsafe", truncated=0.04),
        result("xstest", 0.1, metric=REFUSALS, group="safe", higher_is_better=False),
    ]
    found = report(dict.fromkeys(names, tasks), [pair(names[0], names[2], "gsm8k")], **changed)
    hashed: Sequence[ModelResult] = [
        model.model_copy(update={"hash": content_hash(Path(model.model))}) for model in found.models
    ]
    return found.model_copy(update={"models": list(hashed)})


def saved(found: EvalReport, file: Path) -> Path:
    """The report as a file."""
    file.write_text(found.to_json())
    return file
