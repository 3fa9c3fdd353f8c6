"""GPQA from the places where a user may have it; its questions here are invented."""

import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from shutil import which

import pytest

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources

GPQA_ROW = {
    "Record ID": "rec1",
    "Question": "Which of these is even?",
    "Correct Answer": "2",
    "Incorrect Answer 1": "3",
    "Incorrect Answer 2": "5",
    "Incorrect Answer 3": "7",
}


def csv_of(row: Mapping[str, str]) -> str:
    """A CSV of one row."""
    return ",".join(row) + "\n" + ",".join(row.values()) + "\n"


def test_gpqa_comes_from_a_csv_and_is_private(tmp_path: Path) -> None:
    (tmp_path / "gpqa_diamond.csv").write_text(csv_of(GPQA_ROW))
    loaded = catalogue.load("gpqa_diamond", Sources(tmp_path, offline=True))
    (question,) = loaded.task.questions("test", None)
    assert loaded.task.private and question.id == "rec1"
    assert f"{question.reference}) 2\n" in question.prompt
    verdict = loaded.task.score(question, f"Answer: {question.reference}")
    assert verdict.value == 1


def test_gpqa_comes_from_its_zip_with_the_password_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which("zip") is None:
        pytest.skip("no zip program to encrypt with")
    folder = tmp_path / "gpqa"
    inner = tmp_path / "dataset"
    folder.mkdir()
    inner.mkdir()
    (inner / "gpqa_diamond.csv").write_text(csv_of(GPQA_ROW))
    command = ["zip", "-q", "-P", "open sesame", folder / "dataset.zip", "dataset/gpqa_diamond.csv"]
    subprocess.run(command, cwd=tmp_path, check=True)
    before = sorted(tmp_path.rglob("*"))
    sources = Sources(tmp_path, offline=True)

    monkeypatch.delenv("WEIGHTLENS_GPQA_PASSWORD", raising=False)
    with pytest.raises(EvaluationError, match="needs its password in the variable WEIGHTLENS_GPQA"):
        catalogue.load("gpqa_diamond", sources)
    monkeypatch.setenv("WEIGHTLENS_GPQA_PASSWORD", "wrong")
    with pytest.raises(EvaluationError, match=r"does not open with that|the password is wrong"):
        catalogue.load("gpqa_diamond", sources)
    monkeypatch.setenv("WEIGHTLENS_GPQA_PASSWORD", "open sesame")
    loaded = catalogue.load("gpqa_diamond", sources)
    assert loaded.task.questions("test", None)[0].id == "rec1"
    # the same hash as the CSV alone, and nothing written
    assert loaded.data_hash == "sha256:" + sha256(csv_of(GPQA_ROW).encode()).hexdigest()
    assert sorted(tmp_path.rglob("*")) == before
