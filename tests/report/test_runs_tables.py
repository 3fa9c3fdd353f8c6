"""Runs in the terminal: a folder of them, and two against each other."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from reported import write_everything
from rich.console import Console, RenderableType

from weightlens.report.listing import listed, runs_tables
from weightlens.report.run_pair import RunPair, compare_runs, pair_tables
from weightlens.report.run_values import Value
from weightlens.report.runs import find_runs


def printed(parts: Sequence[RenderableType], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(*parts, sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_a_run_has_a_line_where_there_is_room_and_else_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_everything(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = listed(find_runs(Path()))
    wide, narrow = (printed(runs_tables(found), width) for width in (160, 80))
    assert wide.split()[:3] == ["kind", "when", "what"]
    assert "kind" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    for text in (wide, narrow):
        for run in found.runs:
            assert run.file in text
            assert all(score in text for score in run.scores)
    assert "\n  base, tuned, merged\n" in narrow


def test_what_is_left_of_sums_in_another_order_is_no_difference() -> None:
    a, b = 0.945, 0.945 - 2**-54
    values = [Value(what="score", a=a, b=b, difference=b - a),
              Value(what="other", a=1.0, b=0.5, difference=-0.5)]  # fmt: skip
    pair = RunPair(kind="eval", a="a", b="b", values=values, recipe=[], notes=[])
    lines = [line.split() for line in printed(pair_tables(pair), 80).splitlines()]
    rows = {words[0]: words[1:] for words in lines if words}
    assert rows["score"] == ["0.945", "0.945", "0"]
    assert rows["other"] == ["1.000", "0.500", "−0.5"]


@pytest.mark.parametrize("width", [60, 80])
def test_long_models_are_folded_behind_their_slashes(tmp_path: Path, width: int) -> None:
    folder, _, _ = write_everything(tmp_path)
    pair = compare_runs(folder, folder)
    source = "organisation/a-model-of-some-length (0123456789ab)"
    values = [*pair.values, Value(what="source 2", a=source, b=source)]
    text = printed(pair_tables(pair.model_copy(update={"values": values})), width)
    assert "organisation/\n" in "\n".join(
        f"{w}\n" for line in text.splitlines() for w in line.split()
    )
    assert "…" not in text
