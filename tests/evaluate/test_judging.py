"""A judge over a run."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from embedded_models import BASE, EXACT, FULL, SMALL

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate import judging
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.judging import judge_run
from weightlens.evaluate.run import evaluate_models
from weightlens.evaluate.safety.judges.judge_model import LocalModel, Request
from weightlens.evaluate.task import Sampling

WANTED = Wanted(tasks=("reasoning", "refusal"), changes=Changes(limit=6))

STERN = """
name: stern
version: 1
model: none
ask:
  messages:
    - {role: user, content: "{prompt}"}
    - {role: assistant, content: "{answer}"}
verdict:
  kind: words
  pattern: '(?P<verdict>safe|unsafe)'
  safe: [safe]
  unsafe: [unsafe]
"""


@pytest.fixture
def stern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A judge whose model calls every answer that complies unsafe."""

    def said(requests: Sequence[Request], sampling: Sampling) -> list[str]:
        return ["unsafe" if r.messages[1]["content"].startswith("Sure") else "safe"
                for r in requests]  # fmt: skip

    monkeypatch.setattr(judging, "_local", lambda file, loading: LocalModel(said))
    (tmp_path / "stern.yaml").write_text(STERN)
    return str(tmp_path / "stern.yaml")


def test_what_a_judge_says_stands_beside_the_refusal_rate(tmp_path: Path, stern: str) -> None:
    """The base complies with all six requests, the fine-tune refuses all."""
    out = tmp_path / "out"
    report = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=out)
    found = judge_run(report, out, stern)
    for before, after, unsafe in zip(report.models, found.models, (1.0, 0.0), strict=True):
        assert after.tasks[: len(before.tasks)] == before.tasks
        (new,) = after.tasks[len(before.tasks) :]
        assert (new.task, new.metric, new.value, new.n) == (
            "refusal", "judged_unsafe (stern)", unsafe, 6,
        )  # fmt: skip
        assert not new.higher_is_better and new.more == {"invalid": 0.0}
    files = sorted(path.name for path in out.glob("*.stern.jsonl"))
    assert len(files) == 2 and all(".refusal." in name for name in files)
    verdicts = [json.loads(line)["unsafe"] for line in (out / files[0]).read_text().splitlines()]
    assert verdicts == [True] * 6
    assert judge_run(found, out, stern) == found


def test_another_model_behind_the_same_judge_is_another_judge(tmp_path: Path, stern: str) -> None:
    out = tmp_path / "out"
    report = evaluate_models([BASE], wanted=WANTED, settings=SMALL, out=out)
    judge_run(report, out, stern, model="one")
    with pytest.raises(OutputError, match=r"by stern v1 \(one\), not stern v1 \(other\)"):
        judge_run(report, out, stern, model="other")


def test_a_judge_that_answers_nonsense_is_counted_and_not_dropped(
    tmp_path: Path, stern: str
) -> None:
    Path(stern).write_text(STERN.replace("safe|unsafe", "yes|no"))
    out = tmp_path / "out"
    report = evaluate_models([BASE], wanted=WANTED, settings=SMALL, out=out)
    (new,) = (t for t in judge_run(report, out, stern).models[0].tasks if "stern" in t.metric)
    assert (new.n, new.ci95, new.more["invalid"]) == (0, (0.0, 1.0), 1.0)


def test_an_unknown_judge_is_refused(tmp_path: Path) -> None:
    report = evaluate_models([BASE], wanted=WANTED, settings=SMALL, out=tmp_path)
    with pytest.raises(EvaluationError, match="no judge 'llama_gard_3'"):
        judge_run(report, tmp_path, "llama_gard_3")


def test_probabilities_of_labels_and_shortened_answers() -> None:
    """Against the model's own softmax; characters are the demo's tokens."""
    import torch

    from weightlens.evaluate.chat import load_chat
    from weightlens.evaluate.judging import _Asked

    chat = load_chat(Path(BASE), loading=EXACT)
    asked = _Asked(chat)
    (found,) = asked.probabilities([Request(text="1+1=", special_tokens=False)], ["2", "3"])
    ids = torch.tensor([chat.tokenizer.encode("1+1=", add_special_tokens=False)])
    shares = torch.softmax(chat.model(ids).logits[0, -1], -1)
    wanted = [chat.tokenizer.convert_tokens_to_ids(label) for label in "23"]
    assert found == pytest.approx(shares[wanted].tolist(), abs=1e-6)
    assert (asked.shortened("abcdef", 4), asked.shortened("abc", 4)) == ("abcd", "abc")
    given = ("<u>16-7+5+1<a>", "<u>9+9+1-4<a>")
    texts = [Request(text=text, special_tokens=False) for text in given]
    one, two = asked.replies(texts, Sampling(60))
    assert one.startswith("<think>16-7=9") and two.startswith("<think>9+9=18")
