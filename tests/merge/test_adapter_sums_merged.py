"""A source that is a sum of adapters, in a whole merge."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from checkpoints import Folders, llama_tensors, write_adapter, write_model
from safetensors.torch import load_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.digests import content_hash
from weightlens.delta import Factored
from weightlens.errors import OutputError
from weightlens.merge.engine import run_merge
from weightlens.merge.record import MergeReport


@pytest.fixture
def second(folders: Folders, tmp_path: Path) -> Path:
    """Another adapter of the same base, of another rank and scale."""
    return write_adapter(
        tmp_path / "second", llama_tensors(0), rank=3, seed=9, config={"lora_alpha": 2}
    )


def merged(folders: Folders, tmp_path: Path, method: str, *sources: str) -> MergeReport:
    """Merges sources with weight 1 into `out`."""
    models = "\n".join(f"- {{model: {s}, parameters: {{weight: 1}}}}" for s in sources)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{method}\nbase_model: {folders.base}\nmodels:\n{models}\n")
    return run_merge(recipe, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("on_base", [False, True])
def test_a_sum_is_merged_as_the_sum_of_its_deltas(
    folders: Folders, second: Path, tmp_path: Path, on_base: bool
) -> None:
    terms = [folders.base] * on_base + [folders.adapter, second]
    source = "+".join(map(str, terms))
    report = merged(folders, tmp_path, "merge_method: task_arithmetic", source)
    out, base = (load_file(f / "model.safetensors") for f in (tmp_path / "out", folders.base))
    parts = [Adapter(folder) for folder in (folders.adapter, second)]
    for name, tensor in base.items():
        expected = tensor + sum(p.factored(name).dense() for p in parts if name in p.names)
        assert torch.allclose(out[name], expected, atol=1e-6), name
    (record,) = report.sources
    assert record.hash == "+".join(content_hash(folder) for folder in terms)
    assert (record.model, record.commit) == (source, None)


def test_the_commits_of_all_terms_are_recorded(
    folders: Folders, second: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a term from the Hub the commit, which its folder in the cache is called."""
    cache = {"org/base": folders.base, "org/lora": second}
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repo, **settings: str(cache[repo])
    )
    method = "merge_method: task_arithmetic"
    report = merged(folders, tmp_path, method, f"org/base+{folders.adapter}+org/lora@v1")
    assert [source.commit for source in report.sources] == ["base+local+second"]


def test_a_sum_is_stripped_like_any_delta(folders: Folders, second: Path, tmp_path: Path) -> None:
    strip = "merge_method: strip\nparameters: {side: column, target: 0}"
    report = merged(folders, tmp_path, strip, f"{folders.adapter}+{second}")
    for matrix in report.matrices:
        (record,) = matrix.strips
        assert record.before is not None and record.after is not None
        assert record.before.column > 0.05
        assert record.after.column < 1e-6


def test_the_folder_of_no_term_is_written_over(
    folders: Folders, second: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\nmodels:\n"
        f"- {{model: {folders.base}+{folders.adapter}+{second}, parameters: {{weight: 1}}}}\n"
    )
    (second / "weightlens.json").touch()  # as in an earlier merge, which --overwrite may replace
    before = content_hash(second)
    with pytest.raises(OutputError, match=f"holds the source {second}"):
        run_merge(recipe, second, overwrite=True)
    assert content_hash(second) == before


def test_a_base_with_an_adapter_is_multiplied_out_once_a_tensor(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for every block and pass: what TIES takes of one tensor would grow with its
    square."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: ties\nbase_model: {folders.base}+{folders.adapter}\nmodels:\n"
        f"- {{model: {folders.full}, parameters: {{weight: 1, density: 0.5}}}}\n"
    )
    (adapted, *_), read = Adapter(folders.adapter).names, []
    factored = Adapter.factored

    def counted(self: Adapter, name: str) -> Factored:
        read.append(name)
        return factored(self, name)

    monkeypatch.setattr(Adapter, "factored", counted)
    run_merge(recipe, tmp_path / "out")
    assert read.count(adapted) == 1


@pytest.mark.parametrize(
    "method",
    [
        "merge_method: task_arithmetic",
        "merge_method: ties\nparameters: {density: 0.5}",
        "merge_method: strip\nparameters: {side: column, rank: 2, strength: 0.5}",
    ],
)
def test_an_adapters_layer_beside_another_layer_of_the_base_is_a_whole_delta(
    folders: Folders, tmp_path: Path, method: str
) -> None:
    """As of the model that adapter and base make: there the delta is no product of factors."""
    adapter = Adapter(folders.adapter)
    applied = {
        name: tensor + adapter.factored(name).dense() if name in adapter.names else tensor
        for name, tensor in llama_tensors(0).items()
    }
    merged = []
    for source in (folders.adapter, write_model(tmp_path / "applied", applied)):
        (tmp_path / "recipe.yaml").write_text(
            f"{method}\nbase_model: {folders.base}\nslices:\n- sources:\n"
            f"  - {{model: {folders.base}, layer_range: [0, 1]}}\n"
            f"  - {{model: {source}, layer_range: [1, 2], parameters: {{weight: 0.5}}}}\n"
        )
        run_merge(tmp_path / "recipe.yaml", tmp_path / "out", overwrite=True)
        merged.append(load_file(tmp_path / "out" / "model.safetensors"))
    assert all(torch.allclose(t, merged[1][name], atol=1e-6) for name, t in merged[0].items())


def test_an_adapter_beside_the_base_of_a_slice_is_a_whole_delta(
    folders: Folders, tmp_path: Path
) -> None:
    """w_0 + ½ (w_b + sBA − w_0), where w_0 is the slice's base and w_b the recipe's."""
    (tmp_path / "recipe.yaml").write_text(
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\nslices:\n"
        f"- base_model: {folders.full}\n  sources:\n"
        f"  - {{model: {folders.full}, layer_range: [0, 2]}}\n"
        f"  - {{model: {folders.adapter}, layer_range: [0, 2], parameters: {{weight: 0.5}}}}\n"
    )
    run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    found, adapter = load_file(tmp_path / "out" / "model.safetensors"), Adapter(folders.adapter)
    below, base = llama_tensors(0), load_file(folders.full / "model.safetensors")
    for name in adapter.names:
        expected = (base[name] + below[name] + adapter.factored(name).dense()) / 2
        assert torch.allclose(found[name], expected, atol=1e-6)
