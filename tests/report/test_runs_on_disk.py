"""Results read back from disk, and a folder of them listed."""

import json
from pathlib import Path

import pytest
from reported import merge_report, write_everything, write_overlap

from weightlens.errors import InputError
from weightlens.report.listing import listed
from weightlens.report.runs import find_runs, read_run, read_runs


def test_a_result_is_known_by_its_schema_and_not_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "anything.json"
    file.write_text(merge_report().to_json())
    found = read_run(file)
    assert found is not None
    assert (found.kind, found.report) == ("merge", merge_report())


def test_what_is_no_result_is_passed_over(tmp_path: Path) -> None:
    for name, text in {"config": "{}", "list": "[1]", "broken": "{", "plan": json.dumps(
        {"schema": "weightlens.plan/1"})}.items():  # fmt: skip
        (tmp_path / f"{name}.json").write_text(text)
        assert read_run(tmp_path / f"{name}.json") is None
    with pytest.raises(InputError, match="no result of weightlens; name"):
        read_runs([tmp_path])
    with pytest.raises(InputError, match="there is no such file"):
        read_runs([tmp_path / "nowhere"])


def test_a_damaged_result_and_one_of_another_version_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"schema": "weightlens.merge/9"}')
    with pytest.raises(InputError, match=r"weightlens\.merge/9 is of another version"):
        read_run(file)
    file.write_text('{"schema": "weightlens.merge/1", "seed": "x"}')
    with pytest.raises(InputError, match=r"a\.json: weightlens: Field required"):
        read_run(file)


def test_a_result_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    folder, evaluation, overlap = write_everything(tmp_path)
    runs = read_runs([folder, evaluation, overlap, folder / "weightlens.json"])
    assert [run.kind for run in runs] == ["merge", "eval", "overlap"]


def test_a_folder_is_listed_with_all_below_it_but_what_is_hidden_or_unfinished(
    tmp_path: Path,
) -> None:
    write_everything(tmp_path)
    for name in (".hidden", "out.partial", "out.steps"):
        (tmp_path / name).mkdir()
        write_overlap(tmp_path / name / "o.json", "m")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "bad.json").write_text('{"schema": "weightlens.eval/1"}')
    found = find_runs(tmp_path)
    assert {run.kind for run in found.runs} == {"merge", "eval", "overlap"}
    assert len(found.runs) == 3
    assert len(found.unreadable) == 1
    assert "bad.json" in found.unreadable[0]


def test_a_listing_tells_method_models_and_scores(tmp_path: Path) -> None:
    write_everything(tmp_path)
    runs = {run.kind: run for run in listed(find_runs(tmp_path)).runs}
    assert runs["merge"].what == "strip"
    assert runs["merge"].scores == ["row overlap 0.400 → 0.010 as written"]
    assert runs["eval"].models == ["base", "tuned", "merged"]
    # 38, 20 and 37 of 40 are right; none, all and 39 are refused
    assert runs["eval"].scores == [
        "sums 95.0, 50.0, 92.5", "asked unsafe 0.0, 100.0, 97.5", "asked safe 0.0, 0.0, 0.0",
    ]  # fmt: skip
    assert runs["overlap"].what == "energy 0.5"
