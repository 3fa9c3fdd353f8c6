"""Static figures of an overlap report."""

from pathlib import Path

import pytest
from samples import everything, model, report, training

from weightlens.errors import InputError
from weightlens.report.paper import write_overlap_figure

_MAGIC = {".svg": b"<?xml", ".pdf": b"%PDF-", ".png": b"\x89PNG\r\n\x1a\n"}


@pytest.mark.parametrize("suffix", _MAGIC)
def test_a_figure_is_what_its_suffix_says_and_the_same_bytes_twice(
    suffix: str, tmp_path: Path
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for file in (first, second):
        write_overlap_figure(everything(), file)
    assert first.read_bytes().startswith(_MAGIC[suffix])
    assert first.read_bytes() == second.read_bytes()


def test_the_text_of_an_svg_is_text(tmp_path: Path) -> None:
    write_overlap_figure(everything(), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for word in ("qkv_proj.query", "down_proj", "row overlap ÷ chance", "k / min(m, n)", "chance"):
        assert f">{word}</text>" in text


def test_a_report_without_curves_has_heatmaps_only(tmp_path: Path) -> None:
    bare = model("m", layers=60)
    matrices = [m.model_copy(update={"curve": None}) for m in bare.matrices]
    write_overlap_figure(
        report([bare.model_copy(update={"matrices": matrices})]), tmp_path / "a.svg"
    )
    text = (tmp_path / "a.svg").read_text()
    assert "column overlap ÷ chance" in text
    assert "k / min(m, n)" not in text


def test_of_many_models_the_first_and_the_last_are_drawn(tmp_path: Path) -> None:
    write_overlap_figure(report(training(range(1, 7))), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "checkpoint-1 (full)" in text
    assert "checkpoint-6 (full)" in text
    assert "checkpoint-3" not in text


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.svgz"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.svg, \.pdf, \.png"):
        write_overlap_figure(everything(), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    empty = model("m").model_copy(update={"matrices": []})
    with pytest.raises(InputError, match="no matrix was measured"):
        write_overlap_figure(report([empty]), tmp_path / "a.png")
