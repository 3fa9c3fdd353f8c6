"""SmolLM2-135M-Instruct, a fine-tune and a strip of it, evaluated end to end as a user would.

Only under WEIGHTLENS_REAL=full: about ten minutes on two cores. GSM8K's first 50
questions, all of XSTest, HumanEval's first 20, drift; in bfloat16 where the processor has it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from smollm import base, full

from weightlens.evaluate.result import Draw, EvalReport
from weightlens.evaluate.safety.refusal import refusal_outcome
from weightlens.merge.engine import run_merge

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.environ.get("WEIGHTLENS_REAL") != "full" or not os.environ.get("WEIGHTLENS_DATA"),
        reason="ten minutes: WEIGHTLENS_REAL=full, and WEIGHTLENS_DATA for the questions",
    ),
]

PROGRAM = str(Path(sys.executable).with_name("weightlens"))
RUNS: dict[str, tuple[int, *tuple[str, ...]]] = {
    "gsm8k": (3, "--task", "drift", "--limit", "50", "--max-new-tokens", "320"),
    "xstest": (1, "--max-new-tokens", "128"),
    "humaneval": (1, "--run-code", "--limit", "20", "--max-new-tokens", "512"),
}
"""By task how many of the models are asked, and what the run is given besides."""
COUNTS = {"gsm8k": {"": 50}, "xstest": {"safe": 250, "unsafe": 200}, "humaneval": {"": 20}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The model, a fine-tune on refusals, and the fine-tune without its overlap."""
    folder = tmp_path_factory.mktemp("merge")
    (folder / "strip.yaml").write_text(
        f"merge_method: strip\nbase_model: {base()}\nmodels:\n"
        f"- {{model: {full()}, parameters: {{weight: 1.0}}}}\n"
        "parameters: {side: row, target: chance}\nout_dtype: bfloat16\n"
    )
    run_merge(folder / "strip.yaml", folder / "stripped")
    return [base(), full(), folder / "stripped"]


def command(models: list[Path], task: str, out: Path, *more: str) -> list[str]:
    data = os.environ["WEIGHTLENS_DATA"]
    most, *given = RUNS[task]
    asked = [*map(str, models[:most]), "--task", task, *given, "--data", data, "--out", str(out)]
    return [PROGRAM, "eval", *asked, *more]


def draws(out: Path, report: EvalReport) -> dict[str, list[Draw]]:
    return {
        entry.model: [Draw.model_validate_json(line) for line in (out / entry.file).open("rb")]
        for entry in report.answers
    }


@pytest.mark.parametrize("task", RUNS)
def test_a_real_model_is_evaluated_end_to_end(
    models: list[Path], task: str, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    began = time.monotonic()
    page = tmp_path / "page.html"
    subprocess.run(command(models, task, tmp_path / "out", "--html", str(page)), check=True)
    measured(f"SmolLM2 {task}: {time.monotonic() - began:.0f} s, {RUNS[task][0]} models")
    report = EvalReport.model_validate_json((tmp_path / "out" / "eval.json").read_text())
    assert page.read_text().startswith("<!doctype html>")
    assert len(report.models) == RUNS[task][0] == 1 + len(report.pairs)
    for model in report.models:
        assert {t.group: t.n for t in model.tasks} == COUNTS[task]
        scores = ", ".join(f"{t.group} {100 * t.value:.1f} %".strip() for t in model.tasks)
        measured(f"SmolLM2 {task}, {Path(model.model).name}: {scores}")
    for model, answers in draws(tmp_path / "out", report).items():
        assert len(answers) == sum(COUNTS[task].values())
        assert sum(bool(draw.degenerate) for draw in answers) < 0.5 * len(answers)
        held = sum(draw.extracted is not None for draw in answers)
        refused = sum(refusal_outcome(draw.prompt, draw.answer) == "refused" for draw in answers)
        measured(f"SmolLM2 {task}, {Path(model).name}: {held} held an answer, {refused} refused")
        # at its floor a model still speaks: most answers hold something to judge; the fine-tune
        # learned to refuse from so little that it refuses sums too
        assert held + refused * (model != str(base())) > 0.8 * len(answers)
    for drift in report.drift:
        (part,) = drift.parts
        assert part.kl is not None and part.kl.value > 0


SHORT = ("--limit", "12", "--max-new-tokens", "24", "--batch-size", "4")
"""Batches of four, so that bfloat16 has something to differ in."""


@pytest.fixture(scope="module")
def whole(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run in one go."""
    out = tmp_path_factory.mktemp("whole")
    subprocess.run(command(models, "humaneval", out, *SHORT), check=True)
    return out


@pytest.fixture(scope="module")
def killed(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, killed after its first batch."""
    out = tmp_path_factory.mktemp("killed")
    child = subprocess.Popen(command(models, "humaneval", out, *SHORT))
    while not any(out.glob("*.batches.jsonl")):
        time.sleep(0.01)
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    return out


@pytest.mark.parametrize("inside", [False, True])
def test_killed_and_resumed_gives_equal_files(
    models: list[Path], killed: Path, whole: Path, inside: bool, tmp_path: Path
) -> None:
    """inside: the last line that the killed run wrote is torn besides."""
    resumed = Path(shutil.copytree(killed, tmp_path / "resumed"))
    (file,) = (f for f in resumed.glob("*.jsonl") if ".batches" not in f.name)
    assert 4 <= len(file.read_bytes().splitlines()) < 12
    if inside:
        file.write_bytes(file.read_bytes()[:-17])
    subprocess.run(command(models, "humaneval", resumed, *SHORT), check=True)
    for name in (file.name, file.name.replace(".jsonl", ".plan.json"), "eval.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
