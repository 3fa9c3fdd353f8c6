"""Fine-tunes against each other, in the terminal."""

import io

import pytest
from checkpoints import Folders
from rich.console import Console

from weightlens.report.compare_tables import compare_tables
from weightlens.survey.compare import compare_models


@pytest.mark.parametrize("width", [60, 80, 100])
def test_models_have_short_names_that_are_told_in_full_below(folders: Folders, width: int) -> None:
    report = compare_models(folders.base, [folders.full, folders.adapter])
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(*compare_tables(report), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    names = [folders.full.name, folders.adapter.name]
    assert any(line.split()[:2] == names for line in text.splitlines())
    assert f"{names[0]} and {names[1]}, means by module" in text
    assert "interference" in text
    assert "…" not in text
    for name, model in zip(names, report.models, strict=True):
        assert f"{name}: {model}" in text.replace("\n", "") or name == model
