"""What is known before the work: the plan's numbers, and everything that can be wrong."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import llama_tensors, moved, write_adapter, write_model
from safetensors.torch import save_file
from worded import added, linear, settle, tensors_of

from weightlens.checkpoint import shards, write
from weightlens.checkpoint.digests import Piece
from weightlens.checkpoint.read import FolderWeights
from weightlens.errors import (
    CheckpointError,
    InputError,
    ModelNotFound,
    NonFiniteTensor,
    OutputError,
    RecipeError,
    ShapeMismatch,
    TensorMissing,
)
from weightlens.merge import engine, preparing
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge

NORM, HEAD = "model.norm.weight", "lm_head.weight"
MERGE_THAT_TELLS_ITS_PEAK = """
import multiprocessing, sys
from pathlib import Path
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
recipe, out = map(Path, sys.argv[1:])
print(plan_merge(recipe, workers=2)[0].peak_memory)
peak = 0

def share(process):
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(text.split("\\nPss:")[1].split()[0]) * 1024

def look(*_):
    global peak
    workers = [child.pid for child in multiprocessing.active_children()]
    assert len(workers) <= 2
    try:
        peak = max(peak, sum(map(share, ["self", *workers])))
    except OSError:  # one has just ended
        pass

run_merge(recipe, out, workers=2, progress=look)
print(peak)
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A base in one file, a fine-tune in three, an adapter, each with a tensor of integers."""
    base = llama_tensors(0) | {"model.layers.0.ids": torch.arange(5)}
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "tuned", moved(base, 1), shards=3)
    write_adapter(tmp_path / "lora", llama_tensors(0))
    return tmp_path


def written(models: Path, text: str | None = None) -> Path:
    """A recipe file; half of the fine-tune's delta where no text is given."""
    file = models / "recipe.yaml"
    file.write_text(added(models / "base", models / "tuned") if text is None else text)
    return file


def of_method(models: Path, method: str, **parameters: float) -> str:
    source = {"model": str(models / "tuned"), "parameters": {"weight": 0.5, **parameters}}
    return json.dumps(
        {"merge_method": method, "base_model": str(models / "base"), "models": [source]}
    )


def test_a_dry_run_writes_nothing_and_reads_headers_alone(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(FolderWeights, "_fill", refuse)
    monkeypatch.setattr(engine, "content_hash", refuse)
    before = {file: file.stat().st_mtime_ns for file in models.rglob("*")}
    transform = [{"strip": {"side": "column", "energy": 0.5, "target": 0}}]
    for text in (added(models / "base", models / "tuned"),
                 added(models / "base", models / "tuned", models / "lora", transforms=transform),
                 of_method(models, "ties", density=0.5)):  # fmt: skip
        (models / "recipe.yaml").write_text(text)
        plan_merge(models / "recipe.yaml")
        (models / "recipe.yaml").unlink()
    assert {file: file.stat().st_mtime_ns for file in models.rglob("*")} == before


def test_the_plans_numbers_are_those_of_the_merge(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(shards.plan_shards, limit=8_000)
    monkeypatch.setattr(preparing, "plan_shards", small)
    monkeypatch.setattr(write, "plan_shards", small)
    read, fill = [], FolderWeights._fill

    def counted(weights: FolderWeights, file: int, piece: Piece, *asked: Any) -> None:
        fill(weights, file, piece, *asked)
        read.append(asked[0].nbytes)

    monkeypatch.setattr(FolderWeights, "_fill", counted)
    text = added(models / "base", models / "tuned", out_dtype="bfloat16")
    (plan,) = plan_merge(written(models, text), workers=2)
    assert not read
    report = run_merge(written(models, text), models / "out")
    files = list((models / "out").glob("*.safetensors"))
    assert (plan.method, plan.engine, plan.workers) == ("task_arithmetic", "weightlens", 2)
    assert (plan.base, plan.sources) == (str(models / "base"), [str(models / "tuned")])
    assert (plan.tensors, plan.bytes_written) == (report.tensors, report.bytes)
    assert plan.bytes_read == sum(read)
    assert plan.shards == len(files) > 2
    assert plan.kinds == {"copy": 1, "pointwise": plan.tensors - 1}  # type: ignore[operator]
    assert plan.bytes_to_download == 0
    sizes = [torch.tensor(t.shape).prod() * 2 for n, t in llama_tensors(0).items()]
    assert plan.bytes_written == sum(sizes) + 5 * 8


@pytest.mark.parametrize(
    ("method", "parameters", "kinds"),
    [
        ("ties", {"density": 0.5}, {"two-pass": 21}),
        ("della", {"density": 0.5, "epsilon": 0.1}, {"row-wise": 21}),
    ],
)
def test_tensors_are_counted_by_the_passes_of_the_method(
    models: Path, method: str, parameters: dict[str, float], kinds: dict[str, int]
) -> None:
    (plan,) = plan_merge(written(models, of_method(models, method, **parameters)))
    assert plan.kinds == kinds | {"copy": 1}


def test_what_needs_whole_matrices_is_counted_apart(models: Path) -> None:
    transform = [{"strip": {"side": "column", "energy": 0.5, "target": 0}}]
    text = added(models / "base", models / "tuned", transforms=transform)
    (strip,) = plan_merge(written(models, text))
    assert strip.kinds == {"copy": 1, "matrix": 14, "pointwise": 7}
    (lora,) = plan_merge(written(models, added(models / "base", models / "lora")))
    assert lora.kinds == {"copy": 1, "matrix": 14, "pointwise": 7}


def test_the_peak_is_about_what_was_planned_and_far_below_the_model(tmp_path: Path) -> None:
    """Of two models of 201 MB, in a process of its own."""
    weight = torch.randn(4096, 4096)
    for name, factor in (("base", 1.0), ("tuned", 1.1)):
        big = {f"model.layers.{i}.mlp.up_proj.weight": (weight * factor * (i + 1)).bfloat16()
               for i in range(6)}  # fmt: skip
        (tmp_path / name).mkdir()
        save_file(big, tmp_path / name / "model.safetensors")
    recipe = written(tmp_path, of_method(tmp_path, "ties", density=0.5))
    done = subprocess.run(
        [sys.executable, "-c", MERGE_THAT_TELLS_ITS_PEAK, recipe, tmp_path / "out"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    planned, peak = map(int, done.stdout.split())
    assert 0.8 * peak <= planned <= 2 * peak
    assert planned < 330e6 + 60e6


def cut_shard(models: Path) -> None:
    next((models / "tuned").glob("model-00002*")).unlink()


def spoil_header(models: Path) -> None:
    file = models / "base" / "model.safetensors"
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


def truncate(models: Path) -> None:
    file = models / "base" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def rewritten(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Saves the base with a change."""

    def rewrite(models: Path) -> None:
        tensors = tensors_of(models / "base")
        change(tensors)
        write_model(models / "base", tensors)

    return rewrite


def retold(**settings: object) -> Callable[[Path], None]:
    return lambda models: settle(models / "recipe.yaml", **settings)


def occupy(models: Path) -> None:
    (models / "out").mkdir()
    (models / "out" / "thesis.tex").touch()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (retold(modles=[]), RecipeError, r"recipe.yaml:1: modles: unknown key; did you mean"),
        (retold(merge_method="tees"), RecipeError, r"merge_method: 'tees' is not known; did you"),
        (retold(base_model="/no/where"), ModelNotFound, "/no/where: no such folder"),
        (retold(models=[{"model": "x"}]), RecipeError, "models.0: no weight"),
        (cut_shard, CheckpointError, "model-00002-of-00003.safetensors"),
        (spoil_header, CheckpointError, "base/model.safetensors"),
        (truncate, CheckpointError, "base/model.safetensors"),
        (rewritten(lambda t: t.update({NORM: torch.ones(7)})), ShapeMismatch,
         f"{NORM} is 24 in .*tuned but 7 in .*base"),
        (rewritten(lambda t: t.update({"model.layers.0.ids": torch.ones(5)})), ShapeMismatch,
         "ids is integers in some sources and numbers in others"),
        (rewritten(lambda t: t.pop(NORM)), TensorMissing, f"{NORM} is in .*tuned but not in"),
        (rewritten(lambda t: t.update({"extra": torch.ones(1)})), TensorMissing,
         r"extra is not in .*tuned, but"),
        (occupy, OutputError, "out: exists and is not empty; choose another or --overwrite"),
        (lambda models: (models / "out").touch(), OutputError, "out: exists and is a file"),
    ],
)  # fmt: skip
def test_what_can_be_known_to_be_wrong_is_said_before_anything_is_made(
    models: Path, spoil: Callable[[Path], None], error: type[InputError], message: str
) -> None:
    recipe = written(models)
    spoil(models)
    there = sorted(models.rglob("*"))
    for attempt in (plan_merge, run_merge):
        with pytest.raises(error, match=message):
            attempt(recipe, models / "out")
        assert sorted(models.rglob("*")) == there


@pytest.mark.parametrize("roundabout", [False, True])
def test_a_path_meant_from_the_recipes_folder_is_recognised(
    models: Path, roundabout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths begin at the working directory, as in mergekit."""
    folder = Path("..") / models.name if roundabout else Path()
    recipe = written(models, of_method(folder, "task_arithmetic"))
    with pytest.raises(ModelNotFound, match=f"there is one in {models}, beside the recipe"):
        plan_merge(recipe)
    monkeypatch.chdir(models)
    assert plan_merge(recipe)


def test_a_disk_without_room_is_said_before_anything_is_made(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = written(models)
    usage = shutil.disk_usage(models)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    for attempt in (plan_merge, run_merge):
        with pytest.raises(OutputError, match=r"out: needs .* GB, 1e-06 GB are free; nothing was"):
            attempt(recipe, models / "new" / "out")
    assert plan_merge(recipe)
    assert not (models / "new").exists()


def test_a_place_that_is_read_only_is_said_before_anything_is_made(models: Path) -> None:
    recipe, place = written(models), models / "place"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    try:
        for attempt in (plan_merge, run_merge):
            with pytest.raises(OutputError, match=r"place/new/out: .*place is read-only; choose"):
                attempt(recipe, place / "new" / "out")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_room_is_asked_for_every_step_before_the_first(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = plan_merge(written(models))[0].bytes_written
    assert size is not None
    first = linear(models / "base", models / "tuned", name="first", dtype="bfloat16")
    text = f"{first}\n---\n{added(models / 'base', 'first')}"
    usage = shutil.disk_usage(models)._replace(free=size - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="out: needs"):
        run_merge(written(models, text), models / "out")
    assert not list(models.glob("out*"))


def test_nan_in_a_source_is_found_where_it_is_read(models: Path) -> None:
    tensors = moved(llama_tensors(0), 1) | {"model.layers.0.ids": torch.arange(5)}
    tensors[HEAD][3, 3] = torch.nan
    shutil.rmtree(models / "tuned")
    write_model(models / "tuned", tensors)
    assert plan_merge(written(models))
    with pytest.raises(NonFiniteTensor, match=rf"tuned: {HEAD} holds NaN; a merge would spread it"):
        run_merge(written(models), models / "out")
    assert not list(models.glob("out*"))


def test_integers_that_differ_are_not_merged(models: Path) -> None:
    write_model(models / "base", tensors_of(models / "base") | {"model.layers.0.ids":
                torch.arange(5) + 1})  # fmt: skip
    with pytest.raises(ShapeMismatch, match=r"ids: integers that differ between .*base and"):
        run_merge(written(models), models / "out")
    assert not list(models.glob("out*"))


def test_unknown_keys_are_warnings_where_asked(models: Path) -> None:
    text = added(models / "base", models / "tuned", modles=[])
    (plan,) = plan_merge(written(models, text), lenient=True)
    (warning,) = plan.warnings
    assert "recipe.yaml:1: modles: unknown key" in warning
    assert run_merge(written(models, text), models / "out", lenient=True).warnings == plan.warnings


def test_sources_that_speak_and_stop_alike_are_not_warned_of(models: Path) -> None:
    assert plan_merge(written(models))[0].warnings == []


def test_sources_that_speak_or_stop_differently_are_warned_of(models: Path) -> None:
    (models / "base" / "chat_template.jinja").write_text("{{ a }}")
    (models / "tuned" / "chat_template.jinja").write_text("{{ b }}")
    settle(models / "tuned" / "config.json", eos_token_id=2)
    settle(models / "tuned" / "generation_config.json", eos_token_id=[1, 2], top_p=0.9)
    (plan,) = plan_merge(written(models))
    base, tuned = models / "base", models / "tuned"
    stops = f"in {tuned}: the merge may not stop where that one does"
    assert plan.warnings == [
        f"chat template: the merge has that of {base}, {tuned} has another",
        f"eos_token_id in config.json is 1 in the merge, as in {base}, but 2 {stops}",
        f"eos_token_id in generation_config.json is 1 in the merge, as in {base}, "
        f"but [1, 2] {stops}",
        f"generation_config.json of {base} is copied; {tuned} differs in top_p",
    ]
    assert run_merge(written(models), models / "out").warnings == plan.warnings
