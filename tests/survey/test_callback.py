"""Overlap while training, on the embedded model with the real Trainer."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

from weightlens.device import exact_arithmetic
from weightlens.errors import UnsupportedTensor
from weightlens.experiment.tiny.examples import safety_set
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.experiment.tiny.train import collate, encode
from weightlens.survey.callback import OverlapCallback, as_model, weights_of
from weightlens.survey.overlap import measure_overlap


def trained(model: torch.nn.Module, folder: Path) -> tuple[Trainer, OverlapCallback]:
    """Four steps of safety SFT with a log every second step."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SHIPPED / "base")
    batch = collate([encode(tokenizer, d) for d in safety_set()[:16]])
    labels = torch.roll(batch.labels, 1, dims=1)  # the model shifts them itself
    rows = [{"input_ids": i, "labels": y} for i, y in zip(batch.ids, labels, strict=True)]
    settings = TrainingArguments(
        output_dir=str(folder), max_steps=4, logging_steps=2, per_device_train_batch_size=4,
        learning_rate=1e-3, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    callback = OverlapCallback()
    trainer = Trainer(model=model, args=settings, train_dataset=rows, callbacks=[callback])
    trainer.train()
    return trainer, callback


def test_a_full_fine_tune_logs_what_a_survey_of_its_weights_reads(tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(SHIPPED / "base", dtype=torch.float32)
    trainer, callback = trained(model, tmp_path)
    assert {2, 4} <= set(callback.reports)
    logged = [
        log["overlap/column_over_chance"] for log in trainer.state.log_history if "loss" in log
    ]
    assert len(logged) == 2
    tuned = {name: p.detach() for name, p in model.named_parameters()}
    again = measure_overlap(SHIPPED / "base", [tuned]).models[0].summary.all
    assert logged[-1] == pytest.approx(again.column_over_chance, rel=1e-6)


def test_a_lora_fine_tune_is_measured_with_its_adapter(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = LlamaForCausalLM.from_pretrained(SHIPPED / "base", dtype=torch.float32)
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    _, callback = trained(adapted, tmp_path)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    ours = {m.name: m for m in callback.reports[4].models[0].matrices}
    theirs = measure_overlap(SHIPPED / "base", [tmp_path / "adapter"]).models[0].matrices
    assert len(ours) == len(theirs)
    for other in theirs:
        mine = ours[other.name].column.overlap
        assert mine == pytest.approx(other.column.overlap, abs=1e-4)


def test_a_conv1d_model_in_training_reads_as_its_files_do(tmp_path: Path) -> None:
    """GPT-2 stores inputs x outputs; without its config, column and row would change places."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=8)
    model = GPT2LMHeadModel(config)
    model.save_pretrained(tmp_path / "base")
    base = as_model(model, adapted=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape)
    model.save_pretrained(tmp_path / "tuned")
    here = measure_overlap(base, [as_model(model, adapted=True)]).models[0].matrices
    there = measure_overlap(tmp_path / "base", [tmp_path / "tuned"]).models[0].matrices
    found = {(m.name, m.part): (m.column.overlap, m.row.overlap) for m in here}
    for other in there:
        name = f"transformer.{other.name.removeprefix('transformer.')}"
        expected = (other.column.overlap, other.row.overlap)
        assert found[(name, other.part)] == pytest.approx(expected, rel=1e-4)


def test_an_adapter_that_touches_some_modules_is_measured_there_alone() -> None:
    from peft import LoraConfig, get_peft_model

    model = LlamaForCausalLM.from_pretrained(SHIPPED / "base", dtype=torch.float32)
    plain = weights_of(model, adapted=False)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    other = LoraConfig(r=2, target_modules=["v_proj"], init_lora_weights=False)
    adapted.add_adapter("other", other)
    adapted.base_model.set_adapter(["default", "other"])
    moved = weights_of(adapted, adapted=True)
    changed = {name for name in plain if not torch.equal(plain[name], moved[name])}
    assert changed == {name for name in plain if "v_proj" in name}


def test_dora_and_packed_weights_are_refused_before_training_begins() -> None:
    from peft import LoraConfig, get_peft_model

    model = LlamaForCausalLM.from_pretrained(SHIPPED / "base", dtype=torch.float32)
    dora = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    with pytest.raises(UnsupportedTensor, match="DoRA"):
        weights_of(dora, adapted=False)
    packed = torch.nn.Linear(4, 4)
    packed.weight = torch.nn.Parameter(packed.weight.to(torch.uint8), requires_grad=False)
    with pytest.raises(UnsupportedTensor, match="packed"):
        weights_of(packed, adapted=False)


def test_tf32_that_a_trainer_has_switched_on_is_off_while_measuring() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with exact_arithmetic():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
