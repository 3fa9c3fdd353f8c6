"""`weightlens merge` from the command line: dry runs, engines, workers, and how it refuses."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner
from worded import added, linear, settle, worded, words

from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.record import MergeReport, PlanReport
from weightlens_cli.main import app

runner = CliRunner()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """a, b and c with the same words, d with one more."""
    for seed, name in enumerate("abcd", start=1):
        worded(tmp_path / name, seed, words(32 + (name == "d")))
    return tmp_path


def written(models: Path, *recipes: str) -> Path:
    file = models / "recipe.yaml"
    file.write_text("\n---\n".join(recipes))
    return file


def said(*arguments: object, code: int = 0) -> str:
    """What is printed, with single spaces."""
    done = runner.invoke(app, ["merge", *map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    return " ".join(done.stdout.split())


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    done = runner.invoke(app, ["merge", *map(str, arguments)])
    assert done.exit_code == 2, (done.output, done.exception)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert done.stdout == ""
    return line


def test_a_dry_run_prints_the_plan_and_writes_nothing(models: Path) -> None:
    settle(models / "b" / "config.json", eos_token_id=2)
    file = written(models, added(models / "a", models / "b"))
    before = sorted(models.rglob("*"))
    shown = said(file, "--dry-run", "--workers", 3)
    (plan,) = plan_merge(file)
    for words_ in ("method task_arithmetic", f"base {models / 'a'}", f"source {models / 'b'}",
                   "engine weightlens", "tensors 21: 21 pointwise", "in 1 file", "3 workers",
                   f"read {plan.bytes_read / 1e6:,.1f} MB", "memory at most about 3",  # type: ignore[operator]
                   f"warning: {plan.warnings[0]}", "Nothing was written."):  # fmt: skip
        assert words_ in shown
    assert sorted(models.rglob("*")) == before
    assert said(file, models / "out", "--dry-run")
    assert sorted(models.rglob("*")) == before


def test_a_dry_run_of_several_recipes_prints_each(models: Path) -> None:
    first = linear(models / "a", models / "b", name="first")
    shown = said(written(models, first, added(models / "c", "first")), "--dry-run")
    assert shown.index("plan 1 of 2") < shown.index("plan 2 of 2")
    assert "source first" in shown


def test_a_plan_for_mergekit_says_why_and_what_is_not_known(models: Path) -> None:
    file = written(models, linear(models / "a", models / "d", tokenizer_source="union"))
    shown = said(file, "--dry-run")
    assert f"engine mergekit: the vocabularies of {models / 'a'} and {models / 'd'} differ" in shown
    assert "tensors 21 " in shown and "read 0.1 MB" in shown
    assert "written not known beforehand" in shown
    assert "memory" not in shown


@pytest.mark.parametrize("engine", ["auto", "weightlens", "mergekit"])
def test_the_engine_can_be_chosen(models: Path, engine: str) -> None:
    file = written(models, linear(models / "a", models / "b"))
    shown = said(file, "--dry-run", "--engine", engine)
    expected = "engine mergekit: asked for" if engine == "mergekit" else "engine weightlens"
    assert expected in shown


def test_a_plan_as_json_is_a_list_of_plans(models: Path) -> None:
    first = linear(models / "a", models / "b", name="first")
    file = written(models, first, added(models / "c", "first"))
    done = runner.invoke(app, ["merge", str(file), "--dry-run", "--json", "-"])
    found = [PlanReport.model_validate(plan) for plan in json.loads(done.stdout)]
    assert found == plan_merge(file)
    assert [plan["schema"] for plan in json.loads(done.stdout)] == ["weightlens.plan/1"] * 2
    shown = said(file, "--dry-run", "--json", models / "plan.json")
    assert "plan 1 of 2" in shown
    assert json.loads((models / "plan.json").read_text()) == json.loads(done.stdout)


def test_a_merge_prints_what_it_did_and_writes_its_record(models: Path) -> None:
    settle(models / "b" / "generation_config.json", top_k=3)
    file = written(models, added(models / "a", models / "b"))
    target = models / "record.json"
    shown = said(file, models / "out", "--workers", 1, "--verify", "--json", target)
    assert str(models / "out") in shown
    assert "differs in top_k" in shown
    record = json.loads((models / "out" / "weightlens.json").read_text())
    assert json.loads(target.read_text()) == record
    assert record["engine"] == "weightlens"
    done = runner.invoke(app, ["merge", str(file), str(models / "again"), "--json", "-"])
    again = json.loads(done.stdout)
    assert (again["schema"], again["plan"]) == ("weightlens.merge/1", record["plan"])


def test_steps_go_when_the_output_is_there(models: Path) -> None:
    first = linear(models / "a", models / "b", name="first")
    file = written(models, first, added(models / "c", "first"))
    assert said(file, models / "out", "--no-sync")
    assert [f.name for f in models.glob("out*")] == ["out"]
    report = MergeReport.model_validate_json((models / "out" / "weightlens.json").read_text())
    assert [s.model for s in report.steps["first"].sources] == [
        str(models / "a"),
        str(models / "b"),
    ]


def test_lenient_prints_what_it_ignores(models: Path) -> None:
    file = written(models, added(models / "a", models / "b", modles=[]))
    assert "modles: unknown key; did you mean" in refused(file, models / "out")
    assert "modles: unknown key; did you mean" in refused(file, "--dry-run")
    for arguments in ((file, "--dry-run"), (file, models / "out")):
        assert "modles: unknown key" in said(*arguments, "--lenient")


def test_refusals_are_one_line_and_leave_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = written(models, added(models / "a", models / "b"))
    assert "OUT is missing: name a folder for the merge, or use --dry-run" in refused(good)
    occupied = models / "a"
    for options in ([], ["--dry-run"]):
        assert "a: exists and is not empty; choose" in refused(good, occupied, *options)
        assert "is no earlier merge" in refused(good, occupied, "--overwrite", *options)
    assert "not a file in a folder that exists" in refused(good, models / "out", "--json", models)
    union = models / "union.yaml"
    union.write_text(linear(models / "a", models / "d", tokenizer_source="union"))
    for options in ([models / "out"], ["--dry-run"]):
        line = refused(union, *options, "--engine", "weightlens")
        assert "union.yaml: only mergekit's engine can do this: the vocabularies" in line
    usage = shutil.disk_usage(models)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for options in ([], ["--dry-run"]):
        assert "are free; nothing was written" in refused(good, models / "out", *options)
    assert not list(models.glob("out*"))


def test_the_place_of_another_merge_can_be_taken(models: Path) -> None:
    file = written(models, added(models / "a", models / "b"))
    run_merge(file, models / "out")
    file = written(models, added(models / "a", models / "c"))
    assert "choose another or --overwrite" in refused(file, models / "out", "--dry-run")
    assert said(file, models / "out", "--overwrite", "--dry-run")
    assert said(file, models / "out", "--overwrite")
    record = json.loads((models / "out" / "weightlens.json").read_text())
    assert record["sources"][0]["model"] == str(models / "c")


@pytest.mark.parametrize("options", [["--workers", "0"], ["--engine", "other"], ["--workers", "x"]])
def test_options_that_do_not_exist_end_with_2(models: Path, options: list[str]) -> None:
    file = written(models, added(models / "a", models / "b"))
    done = runner.invoke(app, ["merge", str(file), str(models / "out"), *options])
    assert done.exit_code == 2
    assert not list(models.glob("out*"))


def test_a_dry_run_imports_neither_mergekit_nor_transformers(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where it finds that mergekit's engine has to do it."""
    for module in ("mergekit", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)  # to import it is an error
    file = written(models, linear(models / "a", models / "d", tokenizer_source="union"))
    assert "engine mergekit" in said(file, "--dry-run")
