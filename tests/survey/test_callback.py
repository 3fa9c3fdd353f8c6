"""Overlap while training, on the embedded model with the real Trainer."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments

from weightlens.experiment.tiny.examples import safety_set
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.experiment.tiny.train import collate, encode
from weightlens.survey.callback import OverlapCallback
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
