"""What the demo keeps of its answers is an evaluation that a report can match with the merge."""

import shutil
from pathlib import Path

from evaluated import draw

from weightlens.checkpoint.digests import content_hash
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.scored import Scored
from weightlens.experiment.demo_evaluation import write_evaluation
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.report.answer_files import answer_files


def test_models_are_known_by_their_weights_and_every_answer_is_kept(tmp_path: Path) -> None:
    for name in ("base", "safe-lora"):
        shutil.copytree(SHIPPED / name, tmp_path / "models" / name)
    shutil.copytree(SHIPPED / "safe-full", tmp_path / "merged")
    right = {"base": 9, "safe-lora": 8, "merged": 7}
    asked = {
        name: [Scored(REASONING, tuple(draw(f"q/{i}", float(i < n)) for i in range(10)))]
        for name, n in right.items()
    }
    report = write_evaluation(tmp_path, asked)
    base, lora = (content_hash(SHIPPED / name) for name in ("base", "safe-lora"))
    hashes = [model.hash for model in report.models]
    assert hashes == [base, f"{base}+{lora}", content_hash(SHIPPED / "safe-full")]
    assert [model.tasks[0].value for model in report.models] == [0.9, 0.8, 0.7]
    assert [(pair.a, pair.b) for pair in report.pairs] == [
        ("base", "safe-lora"),
        ("base", "merged"),
    ]
    files = answer_files(report, tmp_path / "evaluation")
    assert [len([*file.draws()]) for file in files] == [10, 10, 10]
