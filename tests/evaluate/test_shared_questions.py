"""Two files of answers that do not answer the same questions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from own_tasks import write_task
from typer.testing import CliRunner

from weightlens.evaluate.chosen import Wanted
from weightlens.evaluate.rescoring import score_answers
from weightlens.evaluate.result import EvalReport
from weightlens_cli.main import app

MANY = [{"id": f"{part}/{i}", "sum": f"{i} + 1", "total": i + 1, "part": part}
        for part in ("safe", "unsafe") for i in range(40)]  # fmt: skip


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Sums in two parts, that are reported apart: XSTest's form."""
    return write_task(
        tmp_path / "task", MANY, id="{{ id }}", group="{{ part }}",
        lower_is_better_groups=["safe"],
    )  # fmt: skip


def answered(file: Path, ids: Sequence[str], right: bool = True) -> Path:
    totals: Mapping[str, int] = {row["id"]: row["total"] for row in MANY}
    file.write_text("".join(
        json.dumps({"question": q, "answer": str(totals[q] if right else -1)}) + "\n" for q in ids
    ))  # fmt: skip
    return file


def ids(part: str, numbers: range) -> list[str]:
    return [f"{part}/{i}" for i in numbers]


def scored(task: Path, *files: Path) -> EvalReport:
    return score_answers(files, Wanted(tasks=(str(task),)))


def test_a_group_that_one_lacks_is_not_compared_and_told(task: Path, tmp_path: Path) -> None:
    both = answered(tmp_path / "both", ids("safe", range(3)) + ids("unsafe", range(3)))
    one = answered(tmp_path / "one", ids("safe", range(3)))
    for first, second in ((both, one), (one, both)):
        report = scored(task, first, second)
        assert [pair.group for pair in report.pairs] == ["safe"]
        assert report.notes[-1] == (
            f"sums unsafe: {first.name} and {second.name} share no question; not compared"
        )
    command = ["eval", "--answers", str(both), "--answers", str(one), "--task", str(task)]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "share no question" in " ".join(shown.output.split())


def test_files_that_share_no_question_are_scored_and_not_compared(
    task: Path, tmp_path: Path
) -> None:
    a = answered(tmp_path / "a", ids("safe", range(3)))
    b = answered(tmp_path / "b", ids("safe", range(3, 6)))
    report = scored(task, a, b)
    assert [[t.n for t in model.tasks] for model in report.models] == [[3], [3]]
    assert report.pairs == [] and report.notes[-1].startswith(
        f"sums safe: {a.name} and {b.name} share no"
    )


def test_the_sentence_counts_the_questions_that_were_compared(task: Path, tmp_path: Path) -> None:
    """40 against 5 of them: 5 compared, 35 left out, whichever comes first."""
    whole = answered(tmp_path / "whole", ids("safe", range(40)))
    few = answered(tmp_path / "few", ids("safe", range(5)), right=False)
    (pair,) = scored(task, whole, few).pairs
    assert pair.a_only == 5
    assert "; 5 questions only; questions left out: 35 asked of the first alone" in pair.sentence
    (pair,) = scored(task, few, whole).pairs
    assert "; 5 questions only; questions left out: 35 asked of the second alone" in pair.sentence
    (pair,) = scored(task, few, answered(tmp_path / "same", ids("safe", range(5)))).pairs
    assert pair.sentence.endswith("; 5 questions only")
