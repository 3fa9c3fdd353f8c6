"""OUT and what lies beside it while it is made: nobody's work is lost, and no two runs mix."""

import os
import shutil
from pathlib import Path

import pytest
from checkpoints import write_adapter
from worded import added, linear, tensors_of, worded, words

from weightlens.checkpoint.partial import JOURNAL, MARKER, REPLACED
from weightlens.errors import ModelNotFound, OutputError, ReadFailed
from weightlens.merge.engine import run_merge
from weightlens.merge.extract import extract_adapter
from weightlens.merge.foresight import plan_merge
from weightlens.merge.preparing import Engine
from weightlens.merge.rebuilding import rebuild_merge

ENGINES: tuple[Engine, Engine] = ("weightlens", "mergekit")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the models a, b and c."""
    for seed, name in enumerate("abc", start=1):
        worded(tmp_path / name, seed, words(32))
    return tmp_path


def written(folder: Path, *recipes: str, name: str = "recipe.yaml") -> Path:
    file = folder / name
    file.write_text("\n---\n".join(recipes) + "\n")
    return file


def two_steps(models: Path) -> Path:
    first = linear(models / "a", models / "b", name="first")
    return written(models, first, added(models / "c", "first"))


def interrupted(models: Path) -> bytes:
    """The journal of a merge into `out` that was interrupted."""

    def stop(done: int, total: int, name: str) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_merge(written(models, linear(models / "a", models / "b")), models / "out", workers=1,
                  progress=stop)  # fmt: skip
    return (models / "out.partial" / JOURNAL).read_bytes()


def test_the_steps_of_one_run_are_not_made_anew_by_another(models: Path) -> None:
    """The other one comes while the last recipe is carried out, with another seed."""
    file, refused = two_steps(models), []

    def intrude(done: int, total: int, name: str) -> None:
        steps, last = models / "out.steps" / "first", models / "out.partial"
        if steps.exists() and last.exists() and not refused:
            with pytest.raises(OutputError, match=r"another run is filling .*out\.steps") as error:
                run_merge(file, models / "out", seed=1)
            refused.append(error)

    run_merge(file, models / "out", workers=1, progress=intrude)
    run_merge(file, models / "alone")
    assert refused
    assert (models / "out/model.safetensors").read_bytes() == \
        (models / "alone/model.safetensors").read_bytes()  # fmt: skip
    assert {f.name for f in models.glob("out*")} == {"out"}


def test_a_source_of_a_step_is_not_overwritten(models: Path) -> None:
    """Nor is one of the last recipe, and both are told before anything is made."""
    source = models / "a"
    (source / "weightlens.json").write_text("{}")
    before = tensors_of(source)
    for attempt in (lambda: plan_merge(two_steps(models), source, overwrite=True),
                    lambda: run_merge(two_steps(models), source, overwrite=True)):  # fmt: skip
        with pytest.raises(OutputError, match="a: holds the source"):
            attempt()
    assert tensors_of(source).keys() == before.keys()
    assert not list(models.glob("a.*"))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_kill_left_half_replaced_comes_back(models: Path, engine: Engine) -> None:
    """Killed between the two renames of --overwrite; then the same command without it."""
    file = written(models, linear(models / "a", models / "b"))
    made = run_merge(file, models / "out")
    partial = models / "out.partial"
    partial.mkdir()
    (partial / MARKER).touch()
    (models / "out").rename(partial / REPLACED)
    with pytest.raises(OutputError, match="not empty"):
        run_merge(file, models / "out", engine=engine)
    assert len(tensors_of(models / "out")) == made.tensors
    assert [f.name for f in models.glob("out*")] == ["out"]


def test_a_kill_just_after_the_rename_leaves_nothing_for_good(models: Path) -> None:
    file = written(models, linear(models / "a", models / "b"))
    run_merge(file, models / "out")
    whole = {f.name for f in (models / "out").iterdir()}
    for name in (MARKER, JOURNAL):
        (models / "out" / name).touch()
    (models / "out" / REPLACED).mkdir()
    with pytest.raises(OutputError, match="not empty"):
        run_merge(file, models / "out")
    assert {f.name for f in (models / "out").iterdir()} == whole


def test_what_is_unfinished_under_another_name_is_not_taken_for_whole(models: Path) -> None:
    interrupted(models)
    (models / "out.partial").rename(models / "out")
    with pytest.raises(OutputError, match="not empty"):
        run_merge(models / "recipe.yaml", models / "out")
    assert (models / "out" / MARKER).exists()


def test_finished_tensors_of_a_merge_are_not_cleared_away_by_another_command(models: Path) -> None:
    journal = interrupted(models)
    write_adapter(models / "lora", tensors_of(models / "a"))
    other = written(
        models, added(models / "a", models / "lora", output="adapter"), name="other.yaml"
    )
    third = written(models, linear(models / "a", models / "c"), name="third.yaml")
    for attempt in (
        lambda: extract_adapter(models / "a", models / "b", models / "out"),
        lambda: run_merge(other, models / "out"),
        lambda: run_merge(third, models / "out", engine="mergekit"),
    ):
        with pytest.raises(OutputError, match=r"holds \d+ finished tensors of another merge"):
            attempt()
        assert (models / "out.partial" / JOURNAL).read_bytes() == journal
    run_merge(other, models / "out", fresh=True)
    assert (models / "out" / "adapter_model.safetensors").exists()
    assert not (models / "out.partial").exists()


def test_steps_and_output_on_one_disk_need_room_together(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(t.nbytes for t in tensors_of(models / "a").values())
    usage = shutil.disk_usage(models)
    for free, enough in ((2 * size, True), (2 * size - 1, False)):
        room = usage._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, room=room: room)
        if enough:
            plan_merge(two_steps(models), models / "out")
        else:
            with pytest.raises(OutputError, match=r"out: needs .* GB with its steps"):
                plan_merge(two_steps(models), models / "out")


def test_room_is_looked_for_where_a_link_leads(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "far").mkdir()
    (models / "here").mkdir()
    (models / "here" / "out").symlink_to(models / "far" / "out")
    asked: list[Path] = []
    usage = shutil.disk_usage(models)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    plan_merge(written(models, linear(models / "a", models / "b")), models / "here" / "out")
    assert asked == [models / "far"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_name_too_long_for_the_folder_beside_it_is_refused(models: Path, engine: Engine) -> None:
    file = written(models, linear(models / "a", models / "b"))
    with pytest.raises(OutputError, match="File name too long"):
        run_merge(file, models / ("x" * 250), engine=engine)


def test_a_source_that_cannot_be_read_on_is_named_and_finished_tensors_stay(models: Path) -> None:
    """A network file system that goes away for a while, say."""
    source, away = models / "b" / "model.safetensors", models / "away"
    file = written(models, linear(models / "a", models / "b"))

    def take_away(done: int, total: int, name: str) -> None:
        if done > total / 2 and source.exists():
            os.rename(source, away)

    with pytest.raises(ReadFailed, match=r"b/model\.safetensors: cannot be read \(No such file"):
        run_merge(file, models / "out", workers=1, progress=take_away)
    assert (models / "out.partial" / JOURNAL).exists()
    os.rename(away, source)
    run_merge(file, models / "out")
    run_merge(file, models / "again")
    assert (models / "out/model.safetensors").read_bytes() == \
        (models / "again/model.safetensors").read_bytes()  # fmt: skip


def test_a_dry_run_tells_what_an_earlier_run_left(models: Path) -> None:
    journal = interrupted(models)
    (plan,) = plan_merge(models / "recipe.yaml", models / "out")
    assert plan.finished == journal.count(b"\n") - 1
    changed = written(models, linear(models / "b", models / "a"), name="changed.yaml")
    with pytest.raises(OutputError, match=r"but the recipe, the seed, .* --fresh"):
        plan_merge(changed, models / "out")
    assert plan_merge(changed, models / "out", fresh=True)[0].finished == 0
    assert (models / "out.partial" / JOURNAL).read_bytes() == journal


def test_a_dry_run_is_refused_where_the_run_would_be(models: Path) -> None:
    """For a folder that is not ours, one that another run fills, and one half replaced."""
    file = written(models, linear(models / "a", models / "b"))
    partial = models / "out.partial"
    partial.mkdir()
    (partial / "thesis.tex").touch()
    for attempt in (lambda: plan_merge(file, models / "out"),
                    lambda: run_merge(file, models / "out")):  # fmt: skip
        with pytest.raises(OutputError, match="is not ours"):
            attempt()
    (partial / "thesis.tex").unlink()
    refused: list[str] = []

    def intrude(done: int, total: int, name: str) -> None:
        if not refused:
            with pytest.raises(OutputError, match="another run is filling it") as error:
                plan_merge(file, models / "out", fresh=True)
            refused.append(str(error.value))

    run_merge(file, models / "out", workers=1, progress=intrude)
    assert refused
    partial.mkdir()
    (partial / MARKER).touch()
    (models / "out").rename(partial / REPLACED)
    with pytest.raises(OutputError, match="wants --overwrite"):
        plan_merge(file, models / "out")
    assert plan_merge(file, models / "out", overwrite=True)
    assert (partial / REPLACED).exists()


@pytest.mark.parametrize("later", ["renamed", "alone"])
def test_steps_that_nothing_needs_any_more_go_with_the_others(models: Path, later: str) -> None:
    """Left by a run that was interrupted in its last recipe."""

    def stop(done: int, total: int, name: str) -> None:
        if (models / "out.partial").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_merge(two_steps(models), models / "out", workers=1, progress=stop)
    assert (models / "out.steps" / "first").exists()
    first = linear(models / "a", models / "b", name="other")
    texts = (first, added(models / "c", "other")) if later == "renamed" else (first,)
    run_merge(written(models, *texts), models / "out", fresh=True)
    assert [f.name for f in models.glob("out*")] == ["out"]


def test_a_name_that_no_file_can_have_is_no_model(models: Path) -> None:
    file = written(models, linear(models / "a", "x" * 300))
    with pytest.raises(ModelNotFound, match=r"recipe\.yaml:1: models\.1\.model: xxx"):
        plan_merge(file)


def test_paths_may_be_text(models: Path) -> None:
    file = str(written(models, linear(models / "a", models / "b")))
    assert plan_merge(file, str(models / "out"))
    run_merge(file, str(models / "out"))
    rebuild_merge(str(models / "out" / "weightlens.json"), str(models / "again"))
    extract_adapter(str(models / "a"), str(models / "out"), str(models / "adapter"))
