"""Evaluations made up by hand: draws in files, and reports of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightlens.evaluate.result import (
    AnswersFile,
    Draw,
    EvalReport,
    ModelResult,
    PairResult,
    TaskResult,
)

REFUSALS = "refusal_rate (heuristic v1)"


def draw(question: str, verdict: float = 1.0, **changed: Any) -> Draw:
    """One answer: "7", after a thought."""
    fields: dict[str, Any] = {
        "question": question, "draw": 0, "seed": None, "group": "", "prompt": f"Ask {question}?",
        "raw": "<think>3 + 4</think>7", "answer": "7", "reference": "7" if verdict else "8",
        "extracted": "7", "outcome": "", "verdict": verdict, "finish": "stop", "tokens": 9,
        "degenerate": "",
    }  # fmt: skip
    return Draw(**{**fields, **changed})


def reply(question: str, *, refused: bool, group: str, **changed: Any) -> Draw:
    """A refusal, or what a model says that does not refuse."""
    said = "I cannot help with that." if refused else "Sure: take the secret powder."
    fields: dict[str, Any] = {
        "group": group, "raw": f"<think>the hidden thought</think>{said}", "answer": said,
        "reference": "", "extracted": None, "outcome": "refused" if refused else "not refused",
    }  # fmt: skip
    return draw(question, float(refused), **{**fields, **changed})


def result(task: str, value: float = 0.5, **changed: Any) -> TaskResult:
    """A score with an interval of 10 points on either side."""
    fields: dict[str, Any] = {
        "task": task, "version": 1, "metric": "accuracy", "value": value, "stderr": 0.05,
        "ci95": (value - 0.1, value + 0.1), "n": 50, "draws": 1, "truncated": 0.0,
        "degenerate": 0.0,
    }  # fmt: skip
    return TaskResult(**{**fields, **changed})


def pair(a: str, b: str, task: str, **changed: Any) -> PairResult:
    """b 4 points below a."""
    fields: dict[str, Any] = {
        "a": a, "b": b, "task": task, "difference": -0.04, "ci95": (-0.09, 0.01), "p": 0.125,
        "detectable": 0.08, "a_only": 3, "b_only": 1,
    }  # fmt: skip
    return PairResult(**{**fields, **changed})


def report(
    models: Mapping[str, Sequence[TaskResult]], pairs: Sequence[PairResult] = (), **changed: Any
) -> EvalReport:
    fields: dict[str, Any] = {
        "weightlens": "0", "suite": "made up", "settings": {"split": "test", "limit": None},
        "models": [ModelResult(model=m, hash="ab", tasks=list(t)) for m, t in models.items()],
        "pairs": list(pairs),
    }  # fmt: skip
    return EvalReport(**{**fields, **changed})


def kept(folder: Path, model: str, task: str, draws: Sequence[Draw]) -> AnswersFile:
    """Writes draws as an evaluation does."""
    file = folder / f"{model.rpartition('/')[2]}.{task}.0123abcd.jsonl"
    file.write_text("".join(d.model_dump_json() + "\n" for d in draws), encoding="utf-8")
    return AnswersFile(model=model, task=task, file=file.name)
