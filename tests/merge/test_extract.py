"""Extracted adapters: what they give back, what they lack, and that the report says so."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, moved, write_model
from safetensors.torch import save_file
from torch import Tensor

import weightlens.merge.extract
from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.checkpoint.selection import Selection
from weightlens.errors import InputError, OutputError, ShapeMismatch, TensorMissing
from weightlens.hub import Resolved
from weightlens.merge.extract import extract_adapter
from weightlens.merge.extract_record import ExtractReport
from weightlens.spectral.lowrank import Truncation

RANK_3 = Truncation("rank", 3)
Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING, NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"


def low_rank(base: Mapping[str, Tensor], rank: int, seed: int = 7) -> dict[str, Tensor]:
    """The tensors with a delta of this rank on every matrix of the layers."""
    generator = torch.Generator().manual_seed(seed)

    def delta(m: int, n: int) -> Tensor:
        b, a = (torch.randn(*s, generator=generator) for s in ((m, rank), (rank, n)))
        return 0.02 * b @ a

    tuned = {name: t.clone() for name, t in base.items()}
    for name in matrices(base):
        tuned[name] += delta(base[name].shape[0], base[name].shape[1])
    return tuned


def given_back(base: Path, adapter: Path) -> dict[str, Tensor]:
    """Every tensor of the base with the adapter on it."""
    weights, model = FolderWeights(base), open_model(adapter)
    model.check_against(weights)
    return {name: model.tensor(name, weights) for name in weights.infos}


def test_a_delta_of_rank_3_comes_back_at_rank_3(folders: Folders, tmp_path: Path) -> None:
    tuned = low_rank(llama_tensors(0), 3)
    folder = write_model(tmp_path / "tuned", tuned)
    report = extract_adapter(folders.base, folder, tmp_path / "out", size=RANK_3)
    for name, tensor in given_back(folders.base, tmp_path / "out").items():
        assert torch.allclose(tensor, tuned[name], atol=2e-6), name
    assert {m.rank for m in report.matrices} == {3}
    assert max(m.error for m in report.matrices) < 1e-5
    assert report.totals.kept == pytest.approx(1)
    assert (report.unchanged, report.left_out, report.whole) == (0, [], [])


def test_the_report_says_how_far_the_adapter_is_off(folders: Folders, tmp_path: Path) -> None:
    """Every figure against plain arithmetic on what the files hold."""
    base, tuned = FolderWeights(folders.base), FolderWeights(folders.full)
    report = extract_adapter(folders.base, folders.full, tmp_path / "out")
    adapter = Adapter(tmp_path / "out")
    total = lost = left_out = 0.0
    for name in base.infos:
        delta = (tuned.read(name) - base.read(name)).double()
        energy = float(delta.square().sum())
        total += energy
        record = next((m for m in report.matrices if m.name == name), None)
        if record is None:
            left_out += energy
            continue
        far = float((delta - adapter.factored(name).dense()).square().sum())
        lost += far
        assert record.error == pytest.approx(math.sqrt(far / energy), rel=1e-5)
        assert record.energy == pytest.approx(1 - far / energy, rel=1e-5)
        assert 0.9 <= record.energy < 0.99
        assert record.delta_norm == pytest.approx(math.sqrt(energy), rel=1e-6)
    totals = report.totals
    assert totals.delta_norm == pytest.approx(math.sqrt(total), rel=1e-6)
    assert totals.left_out == pytest.approx(left_out / total, rel=1e-5)
    assert totals.kept == pytest.approx((total - left_out - lost) / total, rel=1e-5)
    assert totals.matrices + totals.left_out == pytest.approx(1)
    assert {t.name: t.reason for t in report.left_out} == {
        EMBEDDING: "embedding", HEAD: "output layer"}  # fmt: skip


def test_the_record_lies_beside_the_adapter(folders: Folders, tmp_path: Path) -> None:
    report = extract_adapter(folders.base, folders.full, tmp_path / "out", size=RANK_3)
    text = (tmp_path / "out" / "weightlens.json").read_text()
    assert json.loads(text)["schema"] == "weightlens.extract/1"
    assert ExtractReport.model_validate_json(text) == report
    assert report.parameters == report.bytes // 4
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folders.base)
    again = extract_adapter(folders.base, folders.full, tmp_path / "again", size=RANK_3)
    assert again == report
    one, two = (tmp_path / f / "adapter_model.safetensors" for f in ("out", "again"))
    assert one.read_bytes() == two.read_bytes()


def test_the_rest_is_saved_whole_when_asked(folders: Folders, tmp_path: Path) -> None:
    tuned = low_rank(llama_tensors(0), 2)
    for name in (EMBEDDING, NORM, HEAD):
        tuned[name] = tuned[name] + 0.25
    folder = write_model(tmp_path / "tuned", tuned)
    out = tmp_path / "out"
    report = extract_adapter(folders.base, folder, out, size=Truncation("rank", 2), save_rest=True)
    for name, tensor in given_back(folders.base, out).items():
        assert torch.allclose(tensor, tuned[name], atol=2e-6), name
    # NORM: 24 entries moved by 0.25, ‖Δ‖ = 0.25 √24; the others have 32 rows of 24
    assert {w.name: w.delta_norm for w in report.whole} == {
        EMBEDDING: pytest.approx(0.25 * math.sqrt(32 * 24)),
        NORM: pytest.approx(0.25 * math.sqrt(24)),
        HEAD: pytest.approx(0.25 * math.sqrt(32 * 24)),
    }
    assert report.left_out == []
    assert report.totals.kept == pytest.approx(1)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["lm_head", "model.embed_tokens", "model.norm"]


def test_peft_gives_the_fine_tune_back(folders: Folders, tmp_path: Path) -> None:
    """The whole of it: full rank, the rest whole, loaded and merged by PEFT itself."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned = moved(llama_tensors(0), 1) | {NORM: torch.full((24,), 1.5)}
    folder, out = write_model(tmp_path / "tuned", tuned), tmp_path / "out"
    extract_adapter(folders.base, folder, out, size=Truncation("energy", 1), save_rest=True)
    base = AutoModelForCausalLM.from_pretrained(folders.base)
    merged = PeftModel.from_pretrained(base, out).merge_and_unload().state_dict()
    assert set(merged) == set(tuned)
    for name, tensor in tuned.items():
        assert torch.allclose(merged[name], tensor, atol=2e-6), name


def test_tied_embeddings_are_left_out_and_named(tmp_path: Path) -> None:
    """Saved whole they would no longer be tied, and the output layer would stay the base's."""
    tensors = {n: t for n, t in llama_tensors(0).items() if n != HEAD}
    base = write_model(tmp_path / "base", tensors)
    tuned = write_model(tmp_path / "tuned", moved(tensors, 1))
    report = extract_adapter(base, tuned, tmp_path / "out", save_rest=True)
    (left,) = report.left_out
    assert left.name == EMBEDDING
    assert "tied" in left.reason
    assert Adapter(tmp_path / "out").replaced == {}


def test_an_output_layer_that_was_untied_is_left_out_and_counted(tmp_path: Path) -> None:
    """Its delta is against the embeddings that the base uses in its place."""
    tensors = {n: t for n, t in llama_tensors(0).items() if n != HEAD}
    base = write_model(tmp_path / "base", tensors)
    head = tensors[EMBEDDING] + 0.5
    tuned = write_model(tmp_path / "tuned", low_rank(tensors, 2) | {HEAD: head})
    report = extract_adapter(base, tuned, tmp_path / "out", save_rest=True)
    (left,) = report.left_out  # the embeddings are the base's own
    assert left.name == HEAD
    # 32 x 24 entries, each moved by 0.5
    assert left.delta_norm == pytest.approx(0.5 * math.sqrt(32 * 24))


def test_an_adapter_on_the_base_is_recompressed_exactly(folders: Folders, tmp_path: Path) -> None:
    both = f"{folders.base}+{folders.adapter}+{folders.adapter}"  # rank 8 by factors, 4 in truth
    report = extract_adapter(folders.base, both, tmp_path / "out", size=Truncation("energy", 1))
    assert {(m.rank, m.path) for m in report.matrices} == {(4, "factored")}
    twice = Adapter(tmp_path / "out")
    for name in twice.names:
        expected = 2 * Adapter(folders.adapter).factored(name).dense()
        assert torch.allclose(twice.factored(name).dense(), expected, atol=1e-6)
    assert report.totals.left_out == 0
    alone = extract_adapter(folders.base, folders.adapter, tmp_path / "one", size=RANK_3)
    assert {m.rank for m in alone.matrices} == {3}


def test_a_sum_as_base_is_named_nowhere(folders: Folders, tmp_path: Path) -> None:
    """PEFT can load no sum; the delta is the one against it all the same."""
    base = f"{folders.base}+{folders.adapter}"
    report = extract_adapter(base, folders.full, tmp_path / "out", size=Truncation("energy", 1))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    full, plain = FolderWeights(folders.full).read(Q), FolderWeights(folders.base).read(Q)
    expected = full - plain - Adapter(folders.adapter).factored(Q).dense()
    got = Adapter(tmp_path / "out").factored(Q).dense()
    assert torch.allclose(got, expected, atol=1e-6)
    assert report.base.model == base


def test_a_base_from_the_hub_is_named_with_its_revision(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(reference: str) -> Resolved:
        if reference == "org/base@v1":
            return Resolved(reference, folders.base, (), ("0a1b",))
        return Resolved(reference, Path(reference))

    monkeypatch.setattr(weightlens.merge.extract, "resolve", found)
    report = extract_adapter("org/base@v1", folders.full, tmp_path / "out", size=RANK_3)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/base", "v1")
    assert (report.base.model, report.base.commit) == ("org/base@v1", "0a1b")
    assert report.tuned.commit is None


def test_what_bfloat16_leaves_of_an_adapter_has_its_rank(folders: Folders, tmp_path: Path) -> None:
    """Rounding is noise, and the threshold finds where it begins."""
    base = llama_tensors(0)
    rounded = {n: t.bfloat16() for n, t in low_rank(base, 3).items()}
    exact = {n: t.bfloat16() for n, t in base.items()}
    folder = write_model(tmp_path / "base", exact)
    tuned = write_model(tmp_path / "tuned", rounded)
    size = Truncation("noise", None)
    report = extract_adapter(folder, tuned, tmp_path / "out", size=size)
    assert {m.rank for m in report.matrices} == {3}
    assert all(m.threshold is not None and 0 < m.threshold for m in report.matrices)


def test_matrices_stored_as_inputs_x_outputs(tmp_path: Path) -> None:
    """GPT-2's Conv1D, with biases: trained biases of adapted layers are saved beside the factors"""
    generator = torch.Generator().manual_seed(4)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    at = "transformer.h.0"
    base = {"transformer.wte.weight": normal(20, 8), "transformer.wpe.weight": normal(6, 8),
            f"{at}.attn.c_attn.weight": normal(8, 24), f"{at}.attn.c_attn.bias": normal(24),
            f"{at}.mlp.c_fc.weight": normal(8, 32), f"{at}.mlp.c_fc.bias": normal(32),
            f"{at}.ln_1.weight": normal(8), f"{at}.ln_1.bias": normal(8)}  # fmt: skip
    tuned = {name: t + 0.1 * normal(*t.shape) for name, t in base.items()}
    tuned[f"{at}.mlp.c_fc.weight"] = base[f"{at}.mlp.c_fc.weight"]  # only its bias has moved
    tuned[f"{at}.ln_1.weight"] = base[f"{at}.ln_1.weight"]
    folders = []
    for name, tensors in (("base", base), ("tuned", tuned)):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        save_file(tensors, folders[-1] / "model.safetensors")
    out = tmp_path / "out"
    report = extract_adapter(*folders, out, size=Truncation("energy", 1), save_rest=True)
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["fan_in_fan_out"], config["bias"]) == (True, "lora_only")
    assert config["target_modules"] == [f"{at}.attn.c_attn"]
    assert config["modules_to_save"] == [f"{at}.ln_1", f"{at}.mlp.c_fc", "transformer.wpe"]
    assert [m.shape for m in report.matrices] == [(8, 24)]
    assert report.unchanged == 1
    for name, tensor in given_back(folders[0], out).items():
        expected = base[name] if name == "transformer.wte.weight" else tuned[name]
        assert torch.allclose(tensor, expected, atol=2e-6), name


def test_stacks_of_experts_are_left_out_with_their_share(tmp_path: Path) -> None:
    stack, bare = "model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mixer.A_log"
    base = {Q: torch.ones(4, 4), stack: torch.zeros(2, 3, 4), bare: torch.zeros(4)}
    tuned = {Q: base[Q] + torch.eye(4), stack: base[stack] + 0.5, bare: torch.ones(4)}
    for name, tensors in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    report = extract_adapter(
        tmp_path / "base", tmp_path / "tuned", tmp_path / "out", save_rest=True
    )
    # ‖Δ‖²: 4 in Q, 24 · 0.25 = 6 in the stack, 4 in the parameter without a module
    left = {t.name: t for t in report.left_out}
    assert set(left) == {stack, bare}
    assert "experts" in left[stack].reason
    assert left[stack].delta_norm == pytest.approx(math.sqrt(6))
    assert report.totals.left_out == pytest.approx(10 / 14)
    assert report.totals.kept == pytest.approx(4 / 14)


def test_embeddings_are_factored_when_they_are_included(folders: Folders, tmp_path: Path) -> None:
    size, only = Truncation("energy", 1), Selection(include="embed_tokens|q_proj")
    report = extract_adapter(folders.base, folders.full, tmp_path / "out", size=size,
                             selection=only)  # fmt: skip
    got = given_back(folders.base, tmp_path / "out")
    tuned = FolderWeights(folders.full)
    for name in (EMBEDDING, Q):
        assert torch.allclose(got[name], tuned.read(name), atol=2e-6)
    assert "not included" in {t.reason for t in report.left_out}


def test_nothing_is_read_where_headers_tell_that_it_is_wrong(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: object) -> None:
        raise AssertionError("a weight was read")

    tensors = llama_tensors(0)
    less = write_model(tmp_path / "less", {n: t for n, t in tensors.items() if n != Q})
    wide = write_model(tmp_path / "wide", tensors | {EMBEDDING: torch.ones(33, 24)})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    monkeypatch.setattr(FolderWeights, "_fill", read)
    base, out = folders.base, tmp_path / "out"
    with pytest.raises(TensorMissing, match="q_proj"):
        extract_adapter(base, less, out)
    with pytest.raises(ShapeMismatch, match="33 x 24"):
        extract_adapter(base, wide, out)
    with pytest.raises(OutputError, match="not empty"):
        extract_adapter(base, folders.full, tmp_path / "full")
    with pytest.raises(InputError, match=r"k_proj.* 12 x 24.*at most 12, not 13"):
        extract_adapter(base, folders.full, out, size=Truncation("rank", 13))
    with pytest.raises(InputError, match="no matrix of a linear layer"):
        extract_adapter(base, folders.full, out, selection=Selection(include="nothing"))
    assert not out.exists()


def test_an_excluded_tensor_may_have_another_shape(folders: Folders, tmp_path: Path) -> None:
    """A vocabulary that has grown; how far it moved is not a number."""
    tensors = moved(llama_tensors(0), 1) | {EMBEDDING: torch.ones(33, 24)}
    tuned = write_model(tmp_path / "tuned", tensors)
    report = extract_adapter(
        folders.base, tuned, tmp_path / "out", selection=Selection(exclude="embed_tokens")
    )
    (left,) = (t for t in report.left_out if t.name == EMBEDDING)
    assert (left.reason, left.delta_norm, left.shape) == ("excluded", None, (33, 24))


def test_a_model_equal_to_its_base_is_no_adapter(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no matrix differs"):
        extract_adapter(folders.base, folders.base, tmp_path / "out")
    with pytest.raises(InputError, match="above the noise"):
        extract_adapter(
            folders.base, folders.full, tmp_path / "out", size=Truncation("noise", None)
        )
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("out")]


def test_an_interrupted_extraction_leaves_nothing(folders: Folders, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, name: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_adapter(folders.base, folders.full, tmp_path / "out", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_source_is_not_overwritten(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_adapter(folders.base, folders.full, out)
    with pytest.raises(OutputError, match="holds the source"):
        extract_adapter(folders.base, out, out, overwrite=True)
    extract_adapter(folders.base, folders.full, out, size=RANK_3, overwrite=True)
    assert Adapter(out).factored(Q).rank == 3


def test_names_without_a_prefix_are_warned_of(tmp_path: Path) -> None:
    """The Hub's gpt2 has them: PEFT would look for transformer.h.0 … and find no factors."""
    name = "h.0.attn.c_attn.weight"
    for folder, tensor in (("base", torch.zeros(4, 4)), ("tuned", torch.eye(4))):
        (tmp_path / folder).mkdir()
        save_file({name: tensor}, tmp_path / folder / "model.safetensors")
    report = extract_adapter(tmp_path / "base", tmp_path / "tuned", tmp_path / "out")
    assert "no prefix" in report.warnings[0]


def test_a_module_whose_name_ends_another_is_not_saved_whole(tmp_path: Path) -> None:
    """PEFT looks for the ends of names and would want the other module's tensors too."""
    base = {Q: torch.zeros(4, 4), NORM: torch.ones(4), f"vision.{NORM}": torch.ones(4)}
    tuned = {Q: torch.eye(4), NORM: torch.zeros(4), f"vision.{NORM}": torch.zeros(4)}
    for name, tensors in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    report = extract_adapter(
        tmp_path / "base", tmp_path / "tuned", tmp_path / "out", save_rest=True
    )
    assert [w.name for w in report.whole] == [f"vision.{NORM}"]
    (left,) = report.left_out
    assert left.name == NORM
    assert "ambiguous" in left.reason


@pytest.mark.parametrize("older", ["base", "tuned"])
def test_what_models_compute_may_be_on_one_side_only(tmp_path: Path, older: str) -> None:
    """Checkpoints of the first Llamas hold rotary frequencies, fine-tunes of today do not."""
    sides = {"base": llama_tensors(0), "tuned": moved(llama_tensors(0), 1)}
    sides[older]["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
    base, tuned = (write_model(tmp_path / name, tensors) for name, tensors in sides.items())
    report = extract_adapter(base, tuned, tmp_path / "out", size=Truncation("rank", 2))
    assert len(report.matrices) == len(matrices(sides["base"]))
    assert not any("inv_freq" in left.name for left in report.left_out)
