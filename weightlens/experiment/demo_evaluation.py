"""What the demo asked its models, kept as `weightlens eval --out` keeps it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from weightlens.checkpoint.digests import content_hash
from weightlens.evaluate.result import AnswersFile, EvalReport, ModelResult
from weightlens.evaluate.run import write_report
from weightlens.evaluate.scored import Scored, compare_with_first
from weightlens.version import VERSION

_SETTINGS = {"split": "test", "seed": 0, "backend": "static", "device": "cpu", "dtype": "float32"}


def write_evaluation(out: Path, asked: Mapping[str, Sequence[Scored]]) -> EvalReport:
    """Report and answers into out/evaluation; the first model is the base of all others.

    asked: by name, of models that lie in out/models or, the merge, in out.
    """
    folder = out / "evaluation"
    folder.mkdir()
    report = EvalReport(
        weightlens=VERSION,
        suite="builtin",
        settings=_SETTINGS,
        models=[
            ModelResult(
                model=name,
                hash=_hash(name, out),
                tasks=[result for scored in results for result in scored.results()],
            )
            for name, results in asked.items()
        ],
        pairs=compare_with_first(asked).pairs,
        answers=[
            _kept(name, scored, folder) for name, results in asked.items() for scored in results
        ],
    )
    write_report(report, folder)
    return report


def _hash(name: str, out: Path) -> str:
    folder = out / name if name == "merged" else out / "models" / name
    own = content_hash(folder)
    is_adapter = (folder / "adapter_config.json").exists()
    return f"{content_hash(out / 'models' / 'base')}+{own}" if is_adapter else own


def _kept(name: str, scored: Scored, folder: Path) -> AnswersFile:
    file = folder / f"{name}.{scored.task.name}.jsonl"
    lines = "".join(f"{draw.model_dump_json()}\n" for draw in scored.draws)
    file.write_text(lines, encoding="utf-8")
    return AnswersFile(model=name, task=scored.task.name, file=file.name)
