"""Adapters that are written, read back by our own reader and loaded by PEFT itself."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.adapter_names import is_embedding
from weightlens.checkpoint.adapter_write import AdapterWriter, write_adapter
from weightlens.checkpoint.appended import AppendedFile
from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.delta import Factored
from weightlens.errors import InputError, NonFiniteTensor, OutputError, UnsupportedTensor

LAYER = "model.layers.{}.{}.weight"
Q, UP = LAYER.format(0, "self_attn.q_proj"), LAYER.format(1, "mlp.up_proj")


def random_factors(
    shapes: Mapping[str, tuple[int, int]], *, scale: float = 0.5, seed: int = 3
) -> dict[str, Factored]:
    """Factors of ranks 1, 2, 3, 1, …, oriented like tensors of these shapes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        name: Factored(normal(m, 1 + i % 3), normal(1 + i % 3, n), scale)
        for i, (name, (m, n)) in enumerate(shapes.items())
    }


def config_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "adapter_config.json").read_text())


def test_what_is_written_is_read_back(folders: Folders, tmp_path: Path) -> None:
    base = FolderWeights(folders.base)
    shapes = {n: i.shape for n, i in base.infos.items() if len(i.shape) == 2}
    factors = random_factors({n: (s[0], s[1]) for n, s in shapes.items()})
    write_adapter(tmp_path / "out", factors, base_model="org/base", revision="abc")
    adapter = Adapter(tmp_path / "out")
    adapter.check_fits(base)
    assert sorted(adapter.names) == sorted(factors)
    for name, delta in factors.items():
        read = adapter.factored(name)
        assert (read.scale, read.rank) == (1.0, delta.rank)
        assert torch.allclose(read.dense(), delta.dense(), atol=1e-6), name
    config = config_of(tmp_path / "out")
    assert config["base_model_name_or_path"] == "org/base"
    assert (config["revision"], config["bias"]) == ("abc", "none")
    assert not list(tmp_path.glob("*.partial"))


def test_the_scale_goes_into_b(tmp_path: Path) -> None:
    """alpha is r and B carries the 0.25, so that every loader computes the same."""
    a, b = torch.ones(2, 5), torch.full((4, 2), 8.0)
    write_adapter(tmp_path / "out", {Q: Factored(b, a, 0.25)}, base_model=None)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    assert torch.equal(tensors[f"{at}.lora_A.weight"], a)
    assert torch.equal(tensors[f"{at}.lora_B.weight"], torch.full((4, 2), 2.0))
    config = config_of(tmp_path / "out")
    assert (config["r"], config["lora_alpha"]) == (2, 2)


def test_the_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    factors = random_factors({Q: (6, 4), UP: (8, 4)})
    write_adapter(tmp_path / "out", factors, base_model=None)
    file = tmp_path / "out" / "adapter_model.safetensors"
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        assert len(list(opened.keys())) == 4
    length = int.from_bytes(file.read_bytes()[:8], "little")
    assert length % 8 == 0
    assert file.stat().st_size == 8 + length + 4 * (6 + 4 + 2 * (8 + 4))


def test_patterns_are_whole_names_and_nothing_else(tmp_path: Path) -> None:
    """layers.1 is not layers.11, and a name is not the end of another one."""
    names = [LAYER.format(i, "mlp.up_proj") for i in (1, 11)] + [UP.replace("model.", "vision.", 1)]
    ranks = dict(zip(names, (1, 2, 3), strict=True))
    factors = {n: Factored(torch.ones(5, r), torch.ones(r, 5)) for n, r in ranks.items()}
    write_adapter(tmp_path / "out", factors, base_model=None)
    config = config_of(tmp_path / "out")
    assert config["r"] == config["lora_alpha"] == 3
    assert config["rank_pattern"] == config["alpha_pattern"]
    assert sorted(config["rank_pattern"].values()) == [1, 2]
    for pattern, rank in config["rank_pattern"].items():
        matching = [n for n in names if re.match(rf"(.*\.)?({pattern})$", n[: -len(".weight")])]
        assert [ranks[n] for n in matching] == [rank]
        assert not re.match(rf"(.*\.)?({pattern})$", f"other.{matching[0][: -len('.weight')]}")


def test_deltas_of_rank_0_are_left_out(tmp_path: Path) -> None:
    nothing = Factored(torch.ones(4, 0), torch.ones(0, 5))
    write_adapter(tmp_path / "o", {Q: nothing, UP: Factored(*_ones())}, base_model=None)
    assert Adapter(tmp_path / "o").names == [UP]
    with pytest.raises(InputError, match="no adapter"):
        write_adapter(tmp_path / "n", {Q: nothing}, base_model=None)
    assert [p.name for p in tmp_path.iterdir()] == ["o"]


def _ones() -> tuple[Tensor, Tensor]:
    return torch.ones(4, 1), torch.ones(1, 4)


def test_one_adapter_has_one_orientation(tmp_path: Path) -> None:
    factors = random_factors({Q: (4, 4), UP: (4, 4)})
    with pytest.raises(UnsupportedTensor, match=r"q_proj.*inputs x outputs.*up_proj"):
        write_adapter(tmp_path / "o", factors, base_model=None, transposed={Q})


def test_what_lora_has_no_place_for_is_refused(tmp_path: Path) -> None:
    bare = "model.layers.0.mixer.A_log"
    with pytest.raises(UnsupportedTensor, match="A_log"):
        write_adapter(tmp_path / "o", {bare: Factored(*_ones())}, base_model=None)
    with pytest.raises(UnsupportedTensor, match="saved whole and have factors"):
        write_adapter(
            tmp_path / "o", {Q: Factored(*_ones())}, base_model=None, whole={Q: torch.ones(4, 4)}
        )
    assert not list(tmp_path.iterdir())


def test_numbers_beyond_the_dtype_are_refused(tmp_path: Path) -> None:
    large = {Q: Factored(torch.full((4, 1), 1e6), torch.ones(1, 4))}
    with pytest.raises(NonFiniteTensor, match="wider"):
        write_adapter(tmp_path / "o", large, base_model=None, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


def test_an_earlier_adapter_is_replaced_when_asked(tmp_path: Path) -> None:
    factors, out = {Q: Factored(*_ones())}, tmp_path / "o"
    write_adapter(out, factors, base_model=None, provenance="{}")
    with pytest.raises(OutputError, match="overwrite"):
        write_adapter(out, factors, base_model=None)
    write_adapter(out, {UP: Factored(*_ones())}, base_model=None, overwrite=True)
    assert Adapter(out).names == [UP]
    with pytest.raises(OutputError, match=r"weightlens\.json"):  # the second has none
        write_adapter(out, factors, base_model=None, overwrite=True)


def test_what_the_disk_does_not_hold_as_written_is_found(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"q_proj\.lora_B\.weight is not on the disk as"),
        AdapterWriter(tmp_path / "o", [Q], base_model=None) as writer,
    ):
        writer.add(Q, Factored(*_ones()))
        writer.verify()
        file = tmp_path / "o.partial" / "adapter_model.safetensors"
        with file.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\xff")
        writer.verify()
    assert not list(tmp_path.iterdir())


def test_embeddings_are_those_that_the_caller_names(tmp_path: Path) -> None:
    table = "model.table.weight"
    with AdapterWriter(tmp_path / "o", [table], embeddings=[table], base_model=None) as writer:
        writer.add(table, Factored(*_ones()))
    written = load_file(tmp_path / "o" / "adapter_model.safetensors")
    assert {key.rpartition(".")[2] for key in written} == {"lora_embedding_A", "lora_embedding_B"}


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        AdapterWriter(tmp_path / "o", [Q], base_model=None) as writer,
    ):
        writer.add(Q, Factored(*_ones()))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_two_writers_do_not_fill_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "o"
    with AdapterWriter(out, [Q], base_model=None) as writer:
        with (
            pytest.raises(OutputError, match="another run"),
            AdapterWriter(out, [Q], base_model=None),
        ):
            pass
        writer.add(Q, Factored(*_ones()))
    assert Adapter(out).names == [Q]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: AppendedFile, key: str, tensor: Tensor) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(AppendedFile, "append", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_adapter(tmp_path / "o", {Q: Factored(*_ones())}, base_model=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "embedding"),
    [("model.embed_tokens.weight", True), ("transformer.wte.weight", True),
     ("lm_head.weight", False), ("embed_out.weight", False), (Q, False)],
)  # fmt: skip
def test_embeddings_are_known_by_name(name: str, embedding: bool) -> None:
    assert is_embedding(name) is embedding


@pytest.fixture(scope="module")
def gpt2() -> Iterator[nn.Module]:
    """Conv1D matrices (inputs x outputs), biases everywhere, tied embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    yield GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=8, vocab_size=20))


def merged_by_peft(model: nn.Module, adapter: Path) -> dict[str, Tensor]:
    """What PEFT makes of base and adapter."""
    import warnings

    from peft import PeftModel

    with warnings.catch_warnings():
        # PEFT only warns of factors that it does not find
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        loaded = PeftModel.from_pretrained(model, str(adapter))
    return loaded.merge_and_unload().state_dict()


def test_peft_makes_of_a_llama_what_was_written(folders: Folders, tmp_path: Path) -> None:
    """Layers, embeddings and output layer by factors, a norm whole."""
    from transformers import AutoModelForCausalLM

    base = llama_tensors(0)
    shapes = {n: (t.shape[0], t.shape[1]) for n, t in base.items() if t.ndim == 2}
    factors = random_factors(shapes)
    norms = {n: t + 0.5 for n, t in base.items() if n.endswith("layernorm.weight")}
    write_adapter(tmp_path / "out", factors, base_model=str(folders.base), whole=norms)
    model = AutoModelForCausalLM.from_pretrained(folders.base)
    merged = merged_by_peft(model, tmp_path / "out")
    assert set(merged) == set(base)
    for name, tensor in base.items():
        expected = tensor + factors[name].dense() if name in factors else norms.get(name, tensor)
        assert torch.allclose(merged[name], expected, atol=3e-6), name
    ours = open_model(tmp_path / "out")
    weights = FolderWeights(folders.base)
    ours.check_against(weights)
    for name in base:
        assert torch.allclose(ours.tensor(name, weights), merged[name], atol=3e-6), name


def test_peft_makes_of_a_gpt2_what_was_written(gpt2: nn.Module, tmp_path: Path) -> None:
    """Factors as the checkpoint stores the matrices, trained biases of the same layers."""
    from copy import deepcopy

    base = {n: t.clone() for n, t in gpt2.state_dict().items() if n != "lm_head.weight"}
    conv = {n: (t.shape[0], t.shape[1]) for n, t in base.items() if t.ndim == 2 and ".h." in n}
    factors = random_factors(conv)
    whole = {n: t + 0.5 for n, t in base.items() if ".h." in n and (n.endswith("bias") or
             ".ln_" in n)}  # fmt: skip
    write_adapter(
        tmp_path / "out", factors, base_model=None, whole=whole, transposed=frozenset(conv)
    )
    config = config_of(tmp_path / "out")
    assert (config["fan_in_fan_out"], config["bias"]) == (True, "lora_only")
    assert len(config["modules_to_save"]) == 4
    merged = merged_by_peft(deepcopy(gpt2), tmp_path / "out")
    for name, tensor in base.items():
        expected = tensor + factors[name].dense() if name in factors else whole.get(name, tensor)
        assert torch.allclose(merged[name], expected, atol=3e-6), name
    adapter = Adapter(tmp_path / "out")
    assert set(adapter.replaced) == set(whole)
    for name, delta in factors.items():
        assert torch.allclose(adapter.factored(name).dense(), delta.dense(), atol=1e-6)


def test_peft_takes_different_ranks_of_layers_1_and_11(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=12, num_attention_heads=2,
        vocab_size=8, tie_word_embeddings=False)  # fmt: skip
    model = LlamaForCausalLM(config)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    factors = random_factors({LAYER.format(i, "mlp.up_proj"): (8, 8) for i in range(12)})
    write_adapter(tmp_path / "out", factors, base_model=None)
    merged = merged_by_peft(model, tmp_path / "out")
    for name, delta in factors.items():
        assert torch.allclose(merged[name], before[name] + delta.dense(), atol=3e-6), name
