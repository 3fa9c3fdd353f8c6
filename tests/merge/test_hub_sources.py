"""Merging models from the Hub: planned from their headers, then downloaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, moved, pickle_model, write_adapter, write_model
from loopback import Hub, serving
from worded import added, linear, settle

from weightlens.errors import CheckpointError, ShapeMismatch, TensorMissing
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge

RATHER_BIG = {"model.layers.0.mlp.experts.weight": torch.ones(1000, 800)}  # 3.2 MB


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub with org/base and org/tuned, which are in the folders base and tuned, too."""
    base = llama_tensors(0) | RATHER_BIG
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "tuned", moved(base, 1), shards=2)
    with serving() as hub, hub.in_use(monkeypatch, tmp_path / "hub-cache"):
        for name in ("base", "tuned"):
            hub.add(f"org/{name}", tmp_path / name)
        yield hub


def written(folder: Path, *recipes: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text("\n---\n".join(recipes))
    return file


def downloads(hub: Hub) -> int:
    """Bytes of weights that were sent in full, not by range."""
    whole = (r for r in hub.requests if r.path.startswith("/stored/") and r.status == 200)
    return sum(request.sent for request in whole)


def test_a_dry_run_says_what_it_would_download_and_does_not(hub: Hub, tmp_path: Path) -> None:
    (plan,) = plan_merge(written(tmp_path, added("org/base", "org/tuned")))
    assert hub.sent < 300_000
    assert plan.warnings == []
    files = {**hub.repos["org/base"].files, **{
        f"tuned/{path}": data for path, data in hub.repos["org/tuned"].files.items()
    }}  # fmt: skip
    weights = sum(len(data) for path, data in files.items() if path.endswith(".safetensors"))
    index = len(files["tuned/model.safetensors.index.json"])
    assert weights <= plan.bytes_to_download <= weights + index
    local = added(tmp_path / "base", tmp_path / "tuned")
    (here,) = plan_merge(written(tmp_path, local))
    assert here.bytes_to_download == 0
    told = {"bytes_to_download", "base", "sources"}
    assert plan.model_dump(exclude=told) == here.model_dump(exclude=told)


def test_a_merge_from_the_hub_is_that_of_the_folders(hub: Hub, tmp_path: Path) -> None:
    report = run_merge(written(tmp_path, added("org/base", "org/tuned")), tmp_path / "out")
    local = added(tmp_path / "base", tmp_path / "tuned")
    expected = run_merge(written(tmp_path, local), tmp_path / "expected")
    for name in ("model.safetensors", "config.json"):
        there, here = tmp_path / "out" / name, tmp_path / "expected" / name
        assert there.read_bytes() == here.read_bytes()
    assert report.base is not None and expected.base is not None
    assert (report.base.model, report.base.commit) == ("org/base", hub.repos["org/base"].commit)
    assert [s.commit for s in report.sources] == [hub.repos["org/tuned"].commit]
    assert [s.hash for s in report.sources] == [s.hash for s in expected.sources]
    assert expected.base.commit is None
    (again,) = plan_merge(written(tmp_path, added("org/base", "org/tuned")))
    assert again.bytes_to_download == 0


def test_what_does_not_fit_is_told_before_the_download(hub: Hub, tmp_path: Path) -> None:
    other = moved(llama_tensors(0) | RATHER_BIG, 2)
    other["model.norm.weight"] = torch.ones(7)
    hub.add("org/other", write_model(tmp_path / "other", other))
    recipe = written(tmp_path, added("org/base", "org/other"))
    with pytest.raises(ShapeMismatch, match=r"norm.weight is 7 in org/other but 24 in org/base"):
        run_merge(recipe, tmp_path / "out")
    del other["model.norm.weight"]
    hub.add("org/other", write_model(tmp_path / "other", other))
    with pytest.raises(TensorMissing, match=r"model\.norm\.weight is not in org/other"):
        run_merge(recipe, tmp_path / "out")
    assert (downloads(hub), list(tmp_path.glob("out*"))) == (0, [])


def test_differences_are_known_from_what_lies_beside_the_weights(hub: Hub, tmp_path: Path) -> None:
    settle(tmp_path / "tuned" / "generation_config.json", eos_token_id=2)
    (tmp_path / "tuned" / "chat_template.jinja").write_text("{{ tuned }}")
    hub.add("org/tuned", tmp_path / "tuned")
    (plan,) = plan_merge(written(tmp_path, added("org/base", "org/tuned")))
    assert [warning.split(":")[0] for warning in plan.warnings] == [
        "chat template",
        "eos_token_id in generation_config.json is 1 in the merge, as in org/base, but 2 "
        "in org/tuned",
    ]
    assert downloads(hub) == 0


def test_steps_and_adapters_from_the_hub_are_planned_with(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/lora", write_adapter(tmp_path / "lora", llama_tensors(0)))
    first = linear("org/base", "org/tuned", name="first")
    file = written(tmp_path, first, added("first", "first+org/lora"))
    plans = plan_merge(file)
    assert downloads(hub) == 0
    assert [plan.bytes_to_download > 0 for plan in plans] == [True, True]
    report = run_merge(file, tmp_path / "out")
    commits = [hub.repos[f"org/{name}"].commit for name in ("base", "tuned", "lora")]
    assert [s.commit for s in report.steps["first"].sources] == commits[:2]
    assert [s.commit for s in report.sources] == [f"local+{commits[2]}"]


def test_pickled_weights_are_downloaded_to_be_planned_with(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/old", pickle_model(write_model(tmp_path / "old", llama_tensors(0))))
    hub.add("org/new", write_model(tmp_path / "new", moved(llama_tensors(0), 1)))
    recipe = written(tmp_path, linear("org/old", "org/new"))
    with pytest.raises(CheckpointError, match="org/old: has pickled weights only"):
        plan_merge(recipe)
    report = run_merge(recipe, tmp_path / "out")
    assert [s.commit for s in report.sources] == [
        hub.repos[name].commit for name in ("org/old", "org/new")
    ]
