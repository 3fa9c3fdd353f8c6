"""Tasks that lm-eval knows (`--task lm-eval:NAME`), asked by lm-eval itself where it is installed.

Its prompts, its scoring, its own way of generating: what comes out is reported beside our tasks,
with the same intervals and paired comparisons, question by question. A task is kept when all of it
is answered: one that was interrupted begins again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightlens.errors import EvaluationError
from weightlens.evaluate.chat import Chat
from weightlens.evaluate.result import Draw
from weightlens.evaluate.scored import Scored
from weightlens.evaluate.task import Question, Sampling, Split, Task, Verdict

PREFIX = "lm-eval:"

_FIRST = ("exact_match", "acc_norm", "acc", "pass@1", "prompt_level_strict_acc", "f1", "em")
"""Metrics in the order in which they are reported, where a task has several."""


def lm_eval_version() -> str:
    """Raises EvaluationError where lm-eval is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lm_eval")
    except PackageNotFoundError as error:
        raise EvaluationError(
            f"tasks named {PREFIX}… need lm-eval: pip install 'weightlens-toolkit[lm-eval]'"
        ) from error


def ask_lm_eval(chat: Chat, name: str, *, limit: int | None, batch_size: int | None) -> list[Draw]:
    """Every answer of one of its tasks, in the order of its questions.

    name: a task, without the prefix, or the path of a task's YAML. Raises EvaluationError for a
    task that it does not know or cannot load, and one whose metric is no share.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    path = Path(name)
    folder = str(path.parent) if path.suffix in (".yaml", ".yml") else None
    task = path.stem if folder else name
    try:
        found = simple_evaluate(
            model=HFLM(
                pretrained=chat.model, tokenizer=chat.tokenizer, batch_size=batch_size or 16
            ),
            tasks=[task],
            task_manager=TaskManager(include_path=folder, verbosity="ERROR"),
            limit=limit,
            apply_chat_template=True,
            log_samples=True,
            bootstrap_iters=0,
        )
    except (KeyError, ValueError, OSError, ConnectionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{PREFIX}{name}: lm-eval cannot run it ({reason})") from error
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = found["samples"]
    return [_draw(group, sample) for group in samples for sample in _one_filter(samples[group])]


def scored_by_lm_eval(name: str, draws: Sequence[Draw]) -> Scored:
    """Its answers as those of a task of ours are reported."""
    metrics = {draw.outcome for draw in draws}
    return Scored(_task(name, " or ".join(sorted(metrics))), tuple(draws))


def _task(name: str, metric: str) -> Task:
    def questions(split: Split, limit: int | None) -> list[Question]:
        raise EvaluationError(f"{name}: is lm-eval's; it cannot be scored again here")

    def score(question: Question, answer: str) -> Verdict:
        raise EvaluationError(f"{name}: is lm-eval's; it cannot be scored again here")

    return Task(name, 1, f"{metric} (lm-eval)", questions, score, Sampling(max_new_tokens=1))


def _one_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The samples of the first way in which answers were filtered: there is one line for each."""
    first = samples[0].get("filter", "none") if samples else "none"
    return [sample for sample in samples if sample.get("filter", "none") == first]


def _draw(task: str, sample: Mapping[str, Any]) -> Draw:
    metrics = list(sample["metrics"])
    metric = next((name for name in _FIRST if name in metrics), metrics[0])
    value = sample[metric]
    if not isinstance(value, bool | int | float) or not 0 <= float(value) <= 1:
        raise EvaluationError(f"{PREFIX}{task}: its {metric} is no share between 0 and 1")
    said = sample["filtered_resps"][0]
    raw = sample["resps"][0][0]
    return Draw(
        question=f"{task}/{sample['doc_id']}",
        draw=0,
        seed=None,
        group="",
        prompt=str(next(iter(sample["arguments"].values()))["arg_0"])
        if isinstance(sample["arguments"], Mapping)
        else str(sample["arguments"][0][0]),
        raw=str(raw),
        answer=str(said),
        reference=str(sample["target"]),
        extracted=str(said),
        outcome=metric,
        verdict=float(value),
        finish="stop",
        tokens=0,
        degenerate="",
    )
