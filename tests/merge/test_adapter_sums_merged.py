"""A source that is a sum of adapters, in a whole merge."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from checkpoints import Folders, llama_tensors, write_adapter
from safetensors.torch import load_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.digests import content_hash
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
