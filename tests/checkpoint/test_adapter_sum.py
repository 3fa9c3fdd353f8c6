"""Several adapters as one, against PEFT with all of them active, and what does not add up."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, write_adapter, write_model
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.adapter_sum import AdapterSum
from weightlens.checkpoint.model import Model, base_weights, open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.delta import Dense, Factored
from weightlens.errors import AdapterMismatch, CheckpointError, UnsupportedTensor

NAME = "model.layers.0.self_attn.q_proj.weight"
KEY = "base_model.model.model.layers.0.self_attn.q_proj"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def second(folders: Folders, tmp_path: Path) -> Path:
    """Another adapter of the same base, of another rank and scale."""
    return write_adapter(
        tmp_path / "second", llama_tensors(0), rank=3, seed=9, config={"lora_alpha": 2}
    )


def with_tensors(adapter: Path, out: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A copy of an adapter with further tensors."""
    out.mkdir()
    save_file(load_file(adapter / WEIGHTS) | tensors, out / WEIGHTS)
    (out / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    return out


def opposite(adapter: Path, out: Path, *, by: float = 1.0) -> Path:
    """The adapter whose delta is that of another, times −1; `by` moves a factor between B and the
    scale, so that the two agree to within rounding alone."""
    tensors = load_file(adapter / WEIGHTS)
    config = json.loads((adapter / "adapter_config.json").read_text())
    out.mkdir()
    save_file({n: -t / by if "lora_B" in n else t for n, t in tensors.items()}, out / WEIGHTS)
    config["lora_alpha"] *= by
    (out / "adapter_config.json").write_text(json.dumps(config))
    return out


def test_the_delta_of_a_sum_is_the_sum_of_the_deltas_and_factored(
    folders: Folders, second: Path
) -> None:
    base = FolderWeights(folders.base)
    one, two = (Adapter(f).factored(NAME) for f in (folders.adapter, second))
    for model in (
        open_model(folders.adapter, adapters=[second]),
        open_model(folders.base, adapters=[folders.adapter, second], base=base),
    ):
        model.check_against(base)
        assert model.kind == "adapter"
        delta = model.delta(NAME, base, base.read(NAME))
        assert isinstance(delta, Factored)
        assert delta.rank == 4 + 3
        assert torch.allclose(delta.dense(), one.dense() + two.dense(), atol=1e-7)
        expected = base.read(NAME) + one.dense() + two.dense()
        assert torch.allclose(model.tensor(NAME, base), expected, atol=1e-7)


def test_an_adapter_twice_is_twice_its_delta(folders: Folders) -> None:
    base = FolderWeights(folders.base)
    twice = open_model(folders.adapter, adapters=[folders.adapter] * 2)
    delta = twice.delta(NAME, base, base.read(NAME))
    assert delta is not None
    assert torch.allclose(delta.dense(), 3 * Adapter(folders.adapter).factored(NAME).dense())


def test_a_tensor_that_one_part_changes_is_that_part_alone(folders: Folders, second: Path) -> None:
    tensors = load_file(second / WEIGHTS)
    save_file({n: t for n, t in tensors.items() if not n.startswith(KEY)}, second / WEIGHTS)
    found = AdapterSum([Adapter(folders.adapter), Adapter(second)]).factored(NAME)
    assert found is not None
    assert found.rank == 4
    assert AdapterSum([Adapter(second)]).factored(NAME) is None


@pytest.mark.parametrize("by", [1.0, 3.0, 0.7])
def test_opposite_adapters_leave_the_base_as_it_is(
    folders: Folders, tmp_path: Path, by: float
) -> None:
    """Neither factor of the stack is zero; the product is, to within float32."""
    base = FolderWeights(folders.base)
    against = opposite(folders.adapter, tmp_path / "against", by=by)
    model = open_model(folders.adapter, adapters=[against])
    for name in model.adapters.names:
        assert model.delta(name, base, base.read(name)) is None
        assert torch.equal(model.tensor(name, base), base.read(name))


def test_nearly_opposite_adapters_do_not_cancel(folders: Folders, tmp_path: Path) -> None:
    """One part in 10⁵ is left: well above float32, so that it is a delta and no rounding."""
    against = opposite(folders.adapter, tmp_path / "against")
    tensors = load_file(against / WEIGHTS)
    moved = {n: t * (1 - 1e-5) if "lora_B" in n else t for n, t in tensors.items()}
    save_file(moved, against / WEIGHTS)
    one = Adapter(folders.adapter).factored(NAME)
    left = AdapterSum([Adapter(folders.adapter), Adapter(against)]).factored(NAME)
    assert left is not None
    share = left.compact().sigma.norm() / one.compact().sigma.norm()
    assert float(share) == pytest.approx(1e-5, rel=0.05)


def test_one_adapter_that_cancels_in_itself_is_no_delta(folders: Folders) -> None:
    """[B, B] · [A; −A], as PEFT's combination of adapters by concatenation may write it."""
    tensors = load_file(folders.adapter / WEIGHTS)
    a, b = tensors[f"{KEY}.lora_A.weight"], tensors[f"{KEY}.lora_B.weight"]
    tensors[f"{KEY}.lora_A.weight"] = torch.cat([a, -a])
    tensors[f"{KEY}.lora_B.weight"] = torch.cat([b, b], dim=1)
    save_file(tensors, folders.adapter / WEIGHTS)
    base = FolderWeights(folders.base)
    assert open_model(folders.adapter).delta(NAME, base, base.read(NAME)) is None


def test_a_small_delta_of_any_rank_does_not_cancel(generator: torch.Generator) -> None:
    """The bound is relative to the factors: how small a delta is says nothing."""
    for rank in (1, 4, 64):
        b, a = (torch.randn(s, generator=generator) * 1e-12 for s in ((30, rank), (rank, 50)))
        assert not Factored(b, a, 1e-6).cancels()
    assert Factored(torch.zeros(30, 4), torch.ones(4, 50)).cancels()
    assert Factored(torch.ones(30, 4), torch.ones(4, 50), 0.0).cancels()


def peft_model(base: Path, configs: dict[str, Any]) -> Any:
    """A base with PEFT adapters by name; the factors that begin as zeros are drawn at random."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    (first, config), *others = configs.items()
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config, first)
    for name, other in others:
        model.add_adapter(name, other)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_A" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def merged_by_peft(model: Any, names: list[str], folder: Path) -> dict[str, torch.Tensor]:
    """Saves every adapter into a folder of its own; the weights with all of them merged."""
    model.save_pretrained(str(folder))
    model.base_model.set_adapter(names)
    merged = model.merge_and_unload(adapter_names=names)
    return dict(merged.state_dict())


def test_a_sum_is_what_peft_makes_of_several_active_adapters(
    folders: Folders, tmp_path: Path
) -> None:
    """Three adapters that differ in rank, scale, rule of scaling and modules."""
    from peft import LoraConfig

    configs = {
        "math": LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"]),
        "safety": LoraConfig(
            r=2, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "down_proj"]
        ),
        "words": LoraConfig(
            r=4, lora_alpha=8, target_modules=["up_proj", "embed_tokens"],
            rank_pattern={"up_proj": 2}, alpha_pattern={"up_proj": 5},
        ),
    }  # fmt: skip
    theirs = merged_by_peft(peft_model(folders.base, configs), list(configs), tmp_path)
    # PEFT saves the embeddings below words too; they are those of the base
    base = FolderWeights(folders.base)
    ours = open_model(folders.base, adapters=[tmp_path / name for name in configs], base=base)
    ours.check_against(base)
    changed = [n for n in base.infos if not torch.allclose(theirs[n], base.read(n), atol=1e-4)]
    assert len(changed) == 3 * 2 + 1
    for name in base.infos:
        assert torch.allclose(ours.tensor(name, base), theirs[name], atol=1e-6), name


def test_a_sum_on_gpt2_is_what_peft_makes_of_it(tmp_path: Path) -> None:
    """Conv1D stores inputs x outputs, and PEFT's factors are those of its transpose."""
    from peft import LoraConfig
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(n_embd=24, n_layer=2, n_head=4, vocab_size=32, n_positions=16)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    configs = {
        "math": LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn"], fan_in_fan_out=True),
        "safety": LoraConfig(
            r=2, lora_alpha=3, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True
        ),
    }
    theirs = merged_by_peft(peft_model(tmp_path / "base", configs), list(configs), tmp_path)
    base = FolderWeights(tmp_path / "base")
    ours = open_model(tmp_path / "math", adapters=[tmp_path / "safety"])
    ours.check_against(base)
    name = "transformer.h.1.attn.c_attn.weight"
    assert base.infos[name].shape == (24, 72)
    delta = ours.delta(name, base, base.read(name))
    assert isinstance(delta, Factored)
    assert torch.allclose(delta.dense(), theirs[name] - base.read(name), atol=1e-6)
    for name in base.infos:
        assert torch.allclose(ours.tensor(name, base), theirs[name], atol=1e-6), name


def test_a_whole_tensor_comes_from_one_part_only(
    folders: Folders, second: Path, tmp_path: Path
) -> None:
    head = {"base_model.model.lm_head.weight": torch.full((32, 24), 0.25)}
    one = with_tensors(folders.adapter, tmp_path / "one", head)
    base = FolderWeights(folders.base)
    model = open_model(one, adapters=[second])
    assert torch.equal(model.tensor("lm_head.weight", base), torch.full((32, 24), 0.25))
    two = with_tensors(second, tmp_path / "two", head)
    for pair in ((one, two), (one, one)):
        with pytest.raises(
            UnsupportedTensor, match=rf"lm_head\.weight: {pair[0]} and {pair[1]} both"
        ):
            open_model(pair[0], adapters=[second, pair[1]])


def test_factors_go_on_top_of_the_whole_tensor_of_another_part(
    folders: Folders, second: Path, tmp_path: Path
) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    whole = {"base_model.model.model.layers.0.self_attn.q_proj.weight": torch.ones(24, 24)}
    tensors = {n: t for n, t in load_file(folders.adapter / WEIGHTS).items() if KEY not in n}
    save_file(tensors, folders.adapter / WEIGHTS)
    one = with_tensors(folders.adapter, tmp_path / "one", whole)
    base = FolderWeights(folders.base)
    expected = torch.ones(24, 24) + Adapter(second).factored(name).dense()
    for order in ((one, second), (second, one)):
        model = open_model(order[0], adapters=order[1:])
        assert torch.allclose(model.tensor(name, base), expected)
        assert isinstance(model.delta(name, base, base.read(name)), Dense)


def test_dora_adds_up_only_where_it_is_alone_on_a_tensor(
    folders: Folders, second: Path, tmp_path: Path
) -> None:
    magnitude = {f"{KEY}.lora_magnitude_vector": torch.linspace(0.5, 1.5, 24)}
    dora = with_tensors(folders.adapter, tmp_path / "dora", magnitude)
    with pytest.raises(UnsupportedTensor, match=rf"{NAME}: {dora} is DoRA .* to {second}"):
        open_model(second, adapters=[dora])
    with pytest.raises(UnsupportedTensor, match="is DoRA"):
        open_model(dora, adapters=[dora])
    tensors = load_file(second / WEIGHTS)
    save_file({n: t for n, t in tensors.items() if not n.startswith(KEY)}, second / WEIGHTS)
    base = FolderWeights(folders.base)
    apart, alone = open_model(dora, adapters=[second]), open_model(dora)
    assert torch.equal(apart.tensor(NAME, base), alone.tensor(NAME, base))
    assert isinstance(apart.delta(NAME, base, base.read(NAME)), Dense)
    other = NAME.replace("q_proj", "k_proj")
    assert isinstance(apart.delta(other, base, base.read(other)), Factored)


def test_every_part_must_fit_the_base(folders: Folders, tmp_path: Path) -> None:
    other = {n.replace("q_proj", "w_proj"): t for n, t in llama_tensors(0).items()}
    stray = write_adapter(tmp_path / "stray", other)
    with pytest.raises(AdapterMismatch, match=rf"{stray}.*w_proj"):
        open_model(folders.adapter, adapters=[stray]).check_against(FolderWeights(folders.base))


def test_full_weights_are_no_term_of_a_sum(folders: Folders) -> None:
    with pytest.raises(CheckpointError, match="holds no PEFT adapter"):
        open_model(folders.adapter, adapters=[folders.full])


def test_a_sum_serves_as_a_base_where_it_has_full_weights(
    folders: Folders, second: Path, tmp_path: Path
) -> None:
    whole = open_model(folders.base, adapters=[folders.adapter, second])
    weights = base_weights(whole)
    assert torch.equal(weights.read(NAME), whole.tensor(NAME, FolderWeights(folders.base)))
    with pytest.raises(CheckpointError, match="needs full weights"):
        base_weights(open_model(folders.adapter, adapters=[second]))


def test_no_adapters_change_nothing(folders: Folders) -> None:
    base = FolderWeights(write_model(folders.base, llama_tensors(0)))
    model = Model("m", base)
    assert (model.kind, len(model.adapters), list(model.adapters.names)) == ("full", 0, [])
    assert torch.equal(model.tensor(NAME, base), base.read(NAME))
    assert model.delta(NAME, base, base.read(NAME)) is None
