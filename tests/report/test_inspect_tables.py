"""What a checkpoint holds, in the terminal: names that can be told apart."""

import io
from typing import Any

import pytest
from checkpoints import Folders
from rich.console import Console

from weightlens.report.inspect_tables import inspect_tables
from weightlens.survey.inspect import InspectReport, TensorSpectrum, inspect_model


def printed(report: InspectReport, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(*inspect_tables(report), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def spectrum(name: str, **changed: Any) -> TensorSpectrum:
    fields = {"nan": 0, "inf": 0, "dead_rows": 0, "norm": 1.5, "spectral_norm": 0.5,
              "stable_rank": 9.0, "effective_rank": 12.0}  # fmt: skip
    return TensorSpectrum(name=name, **{**fields, **changed})


@pytest.mark.parametrize("width", [60, 80])
def test_modules_of_an_adapter_are_told_apart(folders: Folders, width: int) -> None:
    report = inspect_model(str(folders.adapter))
    lines = printed(report, width).splitlines()
    assert max(map(len, lines)) <= width
    prefix = "base_model.model.model."
    for group in report.groups:
        assert any(line.startswith(group.module.removeprefix(prefix) + " ") for line in lines)
    assert any(line.startswith(f"Names of modules are without {prefix}") for line in lines)


def test_settings_of_an_adapter_are_words(folders: Folders) -> None:
    settings = {"r": 8, "use_dora": False, "target_modules": ["q_proj", "v_proj"], "bias": None}
    report = inspect_model(str(folders.adapter)).model_copy(update={"adapter": settings})
    assert "r: 8, use_dora: False, target_modules: q_proj v_proj\n" in printed(report, 100)


def test_tensors_are_told_apart_and_what_is_broken_has_a_column(folders: Folders) -> None:
    names = [f"model.layers.{i}.post_attention_layernorm.weight" for i in (0, 11)]
    plain = inspect_model(str(folders.base))
    whole = plain.model_copy(update={"spectra": [*map(spectrum, names)]})
    text = printed(whole, 80)
    for name in ("0.post_attention_layernorm ", "11.post_attention_layernorm "):
        assert f"\n{name}" in text
    assert "without model.layers. and .weight" in text
    assert "No NaN, no Inf, and no dead rows." in text
    dead = [spectrum("a.weight", dead_rows=1), spectrum("a.bias", dead_rows=2, nan=3)]
    text = printed(plain.model_copy(update={"spectra": dead}), 80)
    assert "1 dead row\n" in text
    assert "3 NaN,\n" in text
    assert "2 dead rows\n" in text
    assert "No NaN" not in text
