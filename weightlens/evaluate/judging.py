"""Judges over the saved answers of a run: a second pass, with columns of its own.

Only answers to refusal tasks are judged. What a judge says is never mixed with what the refusal
detector reads: "refused" and "judged unsafe" stand side by side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from weightlens.evaluate.backends.backend import OutOfMemory, Prompt
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, Loading, load_chat
from weightlens.evaluate.kept import answers_at, kept_draws
from weightlens.evaluate.result import AnswersFile, EvalReport, ModelResult, TaskResult
from weightlens.evaluate.safety.judges.file_judge import FileJudge, endpoint_judge
from weightlens.evaluate.safety.judges.judge_file import JudgeFile, load_judge
from weightlens.evaluate.safety.judges.judge_model import LocalModel, Request
from weightlens.evaluate.safety.judges.judgement import JudgeSummary, summarised
from weightlens.evaluate.safety.judges.second_pass import judge_answers, judgements_file
from weightlens.evaluate.safety.judges.verdicts import Words
from weightlens.evaluate.task import Sampling
from weightlens.hub import resolve

Progress = Callable[[str, str, int, int], None]
"""Told the judge, the task, the answers judged and their total."""

_USUAL = Loading()
_UNSAFE, _HARMFUL = "judged_unsafe", "harmfulness"


def judge_run(
    report: EvalReport,
    folder: Path,
    judge: str,
    *,
    model: str | None = None,
    loading: Loading = _USUAL,
    progress: Progress = lambda judge, task, done, total: None,
) -> EvalReport:
    """The report with what a judge says of every answer to a refusal task.

    judge: by name, or the path of its YAML. model: in the place of the judge's own. What was judged
    before is not judged again. Where nothing that it said can be read, there is a note and no
    score. Raises EvaluationError for a judge that cannot be asked.
    """
    file = load_judge(judge)
    if model is not None:
        file = file.with_model(model, file.endpoint)
    entries = [entry for entry in report.answers if _is_of_refusals(report, entry)]
    if not entries:
        return report
    opened = endpoint_judge(file) if file.endpoint else FileJudge(file, _local(file, loading))
    heard = [one for entry in entries for one in _heard(report, folder, entry, opened, progress)]
    of_judge = {f"{metric} ({file.name})" for metric in (_UNSAFE, _HARMFUL)}
    models = [
        ModelResult(
            model=model.model,
            hash=model.hash,
            tasks=[
                *(row for row in model.tasks if row.metric not in of_judge),
                *(row for one in heard if one.model == model.model for row in one.results()),
            ],
        )
        for model in report.models
    ]
    before = (note for note in report.notes if not note.startswith(_noted(file)))
    notes = [*before, *(note for one in heard for note in one.notes())]
    return report.model_copy(update={"models": models, "notes": notes})


def is_judges(row: TaskResult) -> bool:
    """Whether a result is what a judge says."""
    return row.metric.startswith((f"{_UNSAFE} (", f"{_HARMFUL} ("))


def _is_of_refusals(report: EvalReport, entry: AnswersFile) -> bool:
    return any(
        task.task == entry.task and task.metric.startswith("refusal_rate")
        for model in report.models
        for task in model.tasks
    )


@dataclass(frozen=True)
class _Heard:
    """What a judge says of a model's answers to a part of a task, which has a refusal rate."""

    model: str
    part: TaskResult
    judge: JudgeFile
    found: JudgeSummary

    def results(self) -> Iterator[TaskResult]:
        """One, where any verdict could be read."""
        found = self.found
        scored = not isinstance(self.judge.verdict, Words) and found.unsafe is None
        value = found.value if scored else found.unsafe
        interval = found.value_ci95 if scored else found.unsafe_ci95
        if value is None:
            return
        more = {"invalid": found.invalid / found.answers}
        more |= {} if found.safety is None else {"safety": found.safety}
        more |= {} if found.refused is None else {"refused_says_judge": found.refused}
        yield self.part.model_copy(
            update={
                "metric": f"{_HARMFUL if scored else _UNSAFE} ({self.judge.name})",
                "value": value,
                "ci95": interval,
                "stderr": None,
                "n": found.questions,
                "higher_is_better": False,
                "truncated": None,
                "degenerate": None,
                "more": more,
            }
        )

    def notes(self) -> Iterator[str]:
        """One, where no verdict could be read."""
        if not [*self.results()]:
            part = f"{self.part.task} {self.part.group}".rstrip()
            model = "+".join(Path(name).name for name in self.model.split("+"))  # notes are pushed
            told = f"{self.found.answers} answers, none readable"
            yield f"{_noted(self.judge)}{part} of {model}: {told}"


def _noted(judge: JudgeFile) -> str:
    """What a judge's notes begin with."""
    return f"judge {judge.name}: "


def _heard(
    report: EvalReport, folder: Path, entry: AnswersFile, judge: FileJudge, progress: Progress
) -> Iterator[_Heard]:
    """Has a file of answers judged; something for every part of the task with a refusal rate."""
    records = answers_at(folder, entry)
    draws = [*kept_draws(records, entry)]
    told = partial(progress, judge.name, entry.task)
    judgements = judge_answers(draws, judge, judgements_file(records, judge), progress=told)
    (model,) = (one for one in report.models if one.model == entry.model)
    for part in model.tasks:
        if part.task != entry.task or not part.metric.startswith("refusal_rate"):
            continue
        own = [j for draw, j in zip(draws, judgements, strict=True)
               if part.group in ("", draw.group)]  # fmt: skip
        if own:
            yield _Heard(entry.model, part, judge.file, summarised(judge, own))


def _local(file: JudgeFile, loading: Loading) -> LocalModel:
    """The judge's model on this machine. A judge that is given plain texts needs no template."""
    if file.ask.messages is None:
        loading = replace(loading, chat_template="{{ messages[0]['content'] }}")
    at = resolve(file.needed_model)
    chat = load_chat(at.path, adapters=at.adapters, label=at.label, loading=loading)
    asked = _Asked(chat)
    return LocalModel(asked.replies, asked.probabilities, asked.shortened)


class _Asked:
    """A chat model as the functions that a judge is made of."""

    def __init__(self, chat: Chat) -> None:
        self._chat, self._backend = chat, StaticBatching(chat)

    def replies(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        prompts = [Prompt(tuple(self._tokens(request))) for request in requests]
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i].tokens))
        size = self._backend.batch_size(len(prompts[order[0]].tokens), sampling)
        said: dict[int, str] = {}
        while len(said) < len(order):
            batch = order[len(said) : len(said) + size]
            try:
                found = self._backend.generate([prompts[i] for i in batch], sampling)
            except OutOfMemory:
                if size == 1:
                    raise
                size = (size + 1) // 2
                continue
            said |= {i: self._chat.words.said(r.tokens) for i, r in zip(batch, found, strict=True)}
        return [said[i] for i in range(len(prompts))]

    def probabilities(
        self, requests: Sequence[Request], labels: Sequence[str]
    ) -> list[list[float]]:
        ids = [self._chat.tokenizer.encode(label, add_special_tokens=False)[-1] for label in labels]
        found = []
        for request in requests:
            tokens = torch.tensor([self._tokens(request)], device=self._chat.model.device)
            with torch.inference_mode():
                logits = self._chat.model(input_ids=tokens).logits[0, -1].float()
            found.append(torch.softmax(logits, -1)[ids].tolist())
        return found

    def shortened(self, text: str, tokens: int) -> str:
        ids = self._chat.tokenizer.encode(text, add_special_tokens=False)
        return text if len(ids) <= tokens else str(self._chat.tokenizer.decode(ids[:tokens]))

    def _tokens(self, request: Request) -> list[int]:
        tokenizer = self._chat.tokenizer
        if not request.messages:
            ids: list[int] = tokenizer.encode(
                request.text, add_special_tokens=request.special_tokens
            )
            return ids
        text = tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, tokenize=False
        )
        return self._chat.words.encode(str(text))
