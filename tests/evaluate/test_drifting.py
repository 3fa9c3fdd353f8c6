"""Drift as a task of a run."""

import json
from functools import partial
from pathlib import Path

import pytest
from embedded_models import BASE, FULL, LORA, SMALL

from weightlens.errors import EvaluationError
from weightlens.evaluate import drifting
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.run import evaluate_models

WANTED = Wanted(tasks=("reasoning", "refusal", "drift"), changes=Changes(limit=6))


def test_drift_reads_the_first_models_answers_reasoning_and_refusals_apart(tmp_path: Path) -> None:
    report = evaluate_models([BASE, FULL, LORA], wanted=WANTED, settings=SMALL, out=tmp_path)
    full, lora = report.drift
    assert (full.base, full.model, lora.model) == (BASE, FULL, LORA)
    assert [(part.kind, part.n) for part in full.parts] == [
        ("", 12), ("reasoning", 6), ("refusal", 6),
    ]  # fmt: skip
    assert all(part.kl is not None and part.kl.value > 0 for part in full.parts)
    assert {trace.trace.partition("/")[0] for trace in full.traces} == {"reasoning", "refusal"}


def test_a_model_has_not_drifted_from_itself(tmp_path: Path) -> None:
    (drift,) = evaluate_models([BASE, f"{copied(tmp_path)}"], wanted=WANTED, settings=SMALL).drift
    assert all(trace.kl == 0 and trace.increase == 0 for trace in drift.traces)


def copied(tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(BASE, tmp_path / "copy"))


def test_a_run_goes_on_trace_by_trace_and_a_finished_one_loads_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=tmp_path)
    monkeypatch.setattr(drifting, "load_chat", None)
    again = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=tmp_path)
    assert again == whole
    monkeypatch.undo()
    (done,) = tmp_path.glob("drift.*.json")
    lines = done.with_suffix(".jsonl")
    done.unlink()
    kept = lines.read_bytes()
    lines.write_bytes(kept[: len(kept) // 2])
    resumed = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=tmp_path).drift
    for one, other in zip(resumed[0].traces, whole.drift[0].traces, strict=True):
        assert one.trace == other.trace and one.kl == pytest.approx(other.kl, rel=1e-4, abs=1e-6)


def test_what_was_measured_is_told_under_the_names_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, out = copied(tmp_path), tmp_path / "out"
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"prompt": "16-7", "answer": "9"}) + "\n")
    wanted = Wanted(traces=file)
    (before,) = evaluate_models([BASE, f"{one}"], wanted=wanted, settings=SMALL, out=out).drift
    other = one.rename(tmp_path / "renamed")
    monkeypatch.setattr(drifting, "load_chat", None)
    (after,) = evaluate_models([f"{other}", BASE], wanted=wanted, settings=SMALL, out=out).drift
    assert (before.model, after.base, after.model) == (f"{one}", f"{other}", BASE)
    assert after.traces == before.traces


@pytest.mark.parametrize("damaged", ["", "{}", "\xff", '{"base": 1'])
def test_a_damaged_result_is_named(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"prompt": "16-7", "answer": "9"}) + "\n")
    ask = partial(evaluate_models, [BASE, FULL], wanted=Wanted(traces=file), settings=SMALL)
    whole = ask(out=tmp_path / "out")
    (kept,) = (tmp_path / "out").glob("drift.*.json")
    kept.write_bytes(damaged.encode("latin-1"))
    with pytest.raises(EvaluationError, match=rf"{kept}: is damaged; remove it"):
        ask(out=tmp_path / "out")
    kept.unlink()
    assert ask(out=tmp_path / "out") == whole


def test_drift_on_a_file_of_answers_needs_no_other_task(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"prompt": "16-7", "answer": "<think>16-7=9</think>9"}) + "\n")
    wanted = Wanted(traces=file)
    (drift,) = evaluate_models([BASE, FULL], wanted=wanted, settings=SMALL).drift
    assert drift.parts[0].n == 1


def test_drift_of_nothing_is_refused() -> None:
    with pytest.raises(EvaluationError, match="name tasks or a suite"):
        evaluate_models([BASE, FULL], wanted=Wanted(tasks=("drift",)), settings=SMALL)
