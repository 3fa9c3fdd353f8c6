"""The cache decides no bit: what was rounded otherwise is not found."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import write_model
from torch import Tensor

from weightlens.factors import FactorCache, factorised
from weightlens.factors.cache import key_of
from weightlens.merge.engine import run_merge
from weightlens.spectral.rank import SubspaceSize


def drawn(m: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def cache(tmp_path: Path) -> FactorCache:
    return FactorCache(tmp_path / "cache")


@pytest.mark.parametrize("shape", [(256, 300), (300, 256), (600, 600)])
def test_how_a_matrix_lies_in_memory_decides_nothing(shape: tuple[int, int]) -> None:
    """As GPT-2 stores its matrices, or as a part of a larger one: the key is the same, and so must
    be the factorisation."""
    matrix = drawn(*shape)
    wider = torch.zeros(shape[0] + 2, shape[1] + 3)
    wider[1:-1, 2:-1] = matrix
    plain = factorised(matrix, SubspaceSize())
    for same in (matrix.T.contiguous().T, wider[1:-1, 2:-1]):
        assert not same.is_contiguous()
        found = factorised(same, SubspaceSize())
        for name in ("sigma_squared", "vectors", "residuals"):
            one, two = (getattr(f.factorisation, name) for f in (found, plain))
            assert torch.equal(one, two), name


@pytest.fixture
def other_threads() -> Iterator[int]:
    """Another number of threads than there were, set while the test asks for it."""
    before = torch.get_num_threads()
    yield before + 1 if before == 1 else 1
    torch.set_num_threads(before)


def test_what_other_threads_or_another_torch_have_left_is_not_found(
    cache: FactorCache, other_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They round otherwise. It is not removed: they may come again."""
    matrix, before = drawn(256, 300), torch.get_num_threads()
    torch.set_num_threads(other_threads)
    assert not factorised(matrix, SubspaceSize(), cache=cache).cached
    torch.set_num_threads(before)
    assert not factorised(matrix, SubspaceSize(), cache=cache).cached
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        assert not factorised(matrix, SubspaceSize(), cache=cache).cached
    assert len(cache.entries()) == 3
    torch.set_num_threads(other_threads)
    assert factorised(matrix, SubspaceSize(), cache=cache).cached


def test_what_another_device_has_left_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's factorisation in a merge on the processor, or another GPU's."""
    matrix, cuda = drawn(20, 30), torch.device("cuda")
    keys = {key_of(matrix)}
    assert key_of(matrix, torch.device("cpu")) in keys
    for name in ("one GPU", "another GPU"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        keys.add(key_of(matrix, cuda))
    assert len(keys) == 3


def test_the_cache_decides_nothing_in_a_merge(
    tmp_path: Path, cache: FactorCache, other_threads: int
) -> None:
    """Of matrices large enough for the number of threads to show, filled with another number."""
    name = "model.layers.0.self_attn.q_proj.weight"
    base = drawn(1024, 1024)
    write_model(tmp_path / "base", {name: base})
    write_model(tmp_path / "tuned", {name: base + 0.05 * drawn(1024, 1024, seed=1)})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: strip\nbase_model: {tmp_path / 'base'}\n"
        f"models:\n- {{model: {tmp_path / 'tuned'}, parameters: {{weight: 1}}}}\n"
        "parameters: {strength: 1.0, energy: 0.9, side: either}\n"
    )
    before = torch.get_num_threads()
    torch.set_num_threads(other_threads)
    factorised(base, SubspaceSize(), whole=True, cache=cache)
    torch.set_num_threads(before)
    without = run_merge(recipe, tmp_path / "without")
    cold = run_merge(recipe, tmp_path / "cold", cache=cache)
    warm = run_merge(recipe, tmp_path / "warm", cache=cache)
    assert without.checksums == cold.checksums == warm.checksums
