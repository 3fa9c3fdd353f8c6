"""Made-up evaluations of merges that are there, with the hashes of their weights."""

from collections.abc import Sequence
from pathlib import Path

from evaluated import REFUSALS, pair, report, result

from weightlens.checkpoint.digests import content_hash
from weightlens.evaluate.result import EvalReport, ModelResult


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
