"""The merge methods in the terminal."""

import io
import re

import pytest
from rich.console import Console

from weightlens.merge.catalogue import catalogue, method_entry
from weightlens.report.method_list import method_in_full, method_list


def printed(parts: list[object], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(*parts, sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_eighty_columns_hold_a_method_in_a_few_lines() -> None:
    text = printed([*method_list(catalogue())], 80)
    assert len(text.splitlines()) < 2 * len(catalogue().methods)
    assert (
        "ties: weight*, density* 1.0, normalize true, rescale false, lambda 1.0,\n"
        "    int8_mask false\n"
    ) in text
    assert "nuslerp: weight*, nuslerp_flatten true, nuslerp_row_wise false\n" in text
    assert "arcee_fusion: no parameters\n" in text


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_parameter_is_broken(width: int) -> None:
    text = printed([*method_list(catalogue())], width)
    assert max(map(len, text.splitlines())) <= width
    for entry in catalogue().methods:
        for parameter in entry.parameters:
            named = f"{parameter.name}{'*' * parameter.each}"
            assert any(re.search(rf"(^|[ :]){re.escape(named)}(,| \S|$)", line)
                       for line in text.splitlines()), named  # fmt: skip


@pytest.mark.parametrize("name", [entry.name for entry in catalogue().methods])
def test_all_that_is_known_of_a_method_is_told(name: str) -> None:
    entry = method_entry(name)
    text = " ".join(printed([*method_in_full(entry)], 80).split())
    assert " ".join(entry.text.split()) in text
    for parameter in entry.parameters:
        assert f"{parameter.name}{'*' * parameter.each}: {parameter.type}" in text
        assert " ".join(parameter.text.split()) in text


def test_sources_are_counted_in_words() -> None:
    for name, said in (("slerp", "sources 1; a base is needed"),
                       ("linear", "1 or more; the base is one of them"),
                       ("multislerp", "1 or more; a base may be given")):  # fmt: skip
        assert said in " ".join(printed([*method_in_full(method_entry(name))], 80).split())
