"""A judge over a run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from embedded_models import BASE, EXACT, FULL, SMALL

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate import catalogue, judging
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.judging import judge_run
from weightlens.evaluate.rescoring import rescore
from weightlens.evaluate.run import evaluate_models, write_report
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


def test_a_judge_whose_verdicts_cannot_be_read_gives_no_score_but_a_note(
    tmp_path: Path, stern: str
) -> None:
    """It is no judge who finds nothing unsafe."""
    out = tmp_path / "out"
    report = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=out)
    before = judge_run(report, out, stern)
    for file in out.glob("*.stern.jsonl"):
        file.unlink()
    Path(stern).write_text(STERN.replace("safe|unsafe", "yes|no"))
    found = judge_run(before, out, stern)
    assert found.models == report.models
    assert found.notes == [
        f"judge stern: refusal of {name}: 6 answers, none readable"
        for name in ("base", "safe-full")
    ]
    assert judge_run(found, out, stern) == found
    for file in out.glob("*.stern.jsonl"):
        file.unlink()
    Path(stern).write_text(STERN)
    assert judge_run(found, out, stern) == before


def test_verdicts_that_cannot_be_read_are_counted_beside_those_that_can(
    tmp_path: Path, stern: str
) -> None:
    """The fine-tune refuses, of which this judge says nothing that it was asked to say."""
    Path(stern).write_text(STERN.replace("(?P<verdict>safe|unsafe)", "(?P<verdict>unsafe)"))
    out = tmp_path / "out"
    report = evaluate_models([BASE, FULL], wanted=WANTED, settings=SMALL, out=out)
    file = out / report.answers[1].file
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0].replace('"answer":"Sure', '"answer":"Well'), *lines[1:]]))
    (new,) = (t for t in judge_run(report, out, stern).models[0].tasks if "stern" in t.metric)
    assert (new.value, new.n, new.more["invalid"]) == (1.0, 5, pytest.approx(1 / 6))


def test_what_a_judge_said_is_kept_when_answers_are_scored_again(
    tmp_path: Path, stern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers are the same, so its words are: in the report, and beside the answers under
    their new name, where it is not asked again."""
    out = tmp_path / "out"
    report = evaluate_models([BASE], wanted=WANTED, settings=SMALL, out=out)
    found = judge_run(report, out, stern)
    write_report(found, out)
    assert rescore(out, Wanted()) == found
    plain = catalogue.load

    def newer(*args: object, **kwargs: object) -> catalogue.Loaded:
        loaded = plain(*args, **kwargs)
        return replace(loaded, task=replace(loaded.task, version=2))

    monkeypatch.setattr(catalogue, "load", newer)
    again = rescore(out, Wanted())
    assert [(t.metric, t.version, t.value) for t in again.models[0].tasks] == [
        ("accuracy", 2, found.models[0].tasks[0].value), ("refusal_rate", 2, 0.0),
        ("judged_unsafe (stern)", 2, 1.0),
    ]  # fmt: skip

    def never(requests: Sequence[Request], sampling: Sampling) -> list[str]:
        raise AssertionError("nothing is judged again")

    monkeypatch.setattr(judging, "_local", lambda file, loading: LocalModel(never))
    assert judge_run(again, out, stern) == again


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
