"""Judges behind an endpoint, on a loopback server that fails in every way that servers do."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from judge_endpoint import Answer, Asked, Say, Server, reply, serving

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.kept import kept_draws
from weightlens.evaluate.result import AnswersFile, Draw
from weightlens.evaluate.safety.judges.endpoint import Endpoint
from weightlens.evaluate.safety.judges.file_judge import FileJudge, endpoint_judge, fingerprint
from weightlens.evaluate.safety.judges.judge_file import EndpointOptions, JudgeFile, load_judge
from weightlens.evaluate.safety.judges.judge_model import LocalModel
from weightlens.evaluate.safety.judges.judgement import Judge, Judgement, JudgeSummary, summarised
from weightlens.evaluate.safety.judges.second_pass import judge_answers, judgements_file

ODD = "one\u2028two\x85three"
KEY = "sk-very-secret-0123456789"


def draw(number: int, answer: str | None = None) -> Draw:
    text = f"answer {number}" if answer is None else answer
    return Draw(
        question=f"q/{number}", draw=0, seed=None, group="unsafe", prompt=f"prompt {number}",
        raw=text, answer=text, reference="", extracted=None, outcome="not refused", verdict=0.0,
        finish="stop", tokens=3, degenerate="",
    )  # fmt: skip


def saved(folder: Path, n: int = 5) -> Path:
    file = folder / "0-model.strongreject.jsonl"
    file.write_text("".join(draw(i).model_dump_json() + "\n" for i in range(n)))
    return file


def judging(records: Path, judge: Judge, **told: Any) -> JudgeSummary:
    """Judges all that a file holds, and sums up."""
    draws = [*kept_draws(records, AnswersFile(model="m", task="t", file=records.name))]
    return summarised(judge, judge_answers(draws, judge, judgements_file(records, judge), **told))


def told_in(file: Path) -> list[Judgement]:
    return [Judgement.model_validate_json(line) for line in file.read_bytes().splitlines()]


def at(server: Server, **options: object) -> EndpointOptions:
    wanted = {"url": server.url, "timeout": 5.0, "attempts": 3, "concurrency": 1, **options}
    return EndpointOptions.model_validate(wanted)


def judge(server: Server, name: str = "llama_guard_3", **options: object) -> FileJudge:
    """A judge at a server, with a key, and with pauses that a test can wait for."""
    file = load_judge(name).with_model("judge-8b", at(server, **options))
    assert file.endpoint is not None
    return FileJudge(file, Endpoint(file.endpoint, "judge-8b", KEY, first_pause=0.01))


def failing(times: int, failure: Say, then: str = "safe") -> Answer:
    """Fails so many times, then answers."""
    return lambda asked: failure if asked.number < times else reply(then)


@pytest.mark.parametrize(
    "failure",
    [
        Say(b'{"error": "slow down"}', 429),
        Say(b"busy", 503, {"Retry-After": "0.01"}),
        Say(b"busy", 503, {"Retry-After": formatdate(0, usegmt=True)}),
        Say(b"oops", 500),
        Say(b"bad gateway", 502),
        Say(drop=True),
        Say(b"<html>no JSON</html>"),
        Say(b'{"choices": []}'),
        Say(b'{"choices": [{"message": {"content": [1, 2]}}]}'),
        Say(b"[]"),
    ],
    ids=["429", "retry-after", "retry-date", "500", "502", "dropped", "html", "empty", "parts",
         "list"],
)  # fmt: skip
def test_two_failures_and_then_a_verdict_is_a_verdict(failure: Say, tmp_path: Path) -> None:
    with serving(failing(2, failure)) as server:
        summary = judging(saved(tmp_path, 1), judge(server))
    assert (summary.answers, summary.invalid, summary.unsafe) == (1, 0, 0.0)
    assert len(server.asked) == 3


def test_a_reply_that_never_comes_times_out_and_is_asked_for_again(tmp_path: Path) -> None:
    slow = Say(delay=1.0)
    with serving(failing(1, slow)) as server:
        summary = judging(saved(tmp_path, 1), judge(server, timeout=0.2))
    assert summary.answers == 1 and len(server.asked) == 2


def test_what_is_sent_is_what_openais_api_takes(tmp_path: Path) -> None:
    with serving(lambda asked: reply("unsafe\nS2")) as server:
        judging(saved(tmp_path, 1), judge(server, extra={"top_p": None, "user": "us"}))
    [asked] = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "judge-8b", "max_tokens": 32, "temperature": 0.0, "user": "us",
        "messages": [{"role": "user", "content": "prompt 0"},
                     {"role": "assistant", "content": "answer 0"}],
    }  # fmt: skip


def test_a_judge_of_texts_asks_for_completions(tmp_path: Path) -> None:
    said = "Harmful request: yes\nResponse refusal: no\nHarmful response: yes"
    with serving(lambda asked: reply(said)) as server:
        summary = judging(saved(tmp_path, 2), judge(server, "wildguard"))
    assert server.asked[0].path == "/v1/completions"
    assert server.asked[0].last.startswith("<s><|user|>\n[INST]")
    assert (summary.unsafe, summary.refused, summary.safety) == (1.0, 0.0, None)


def test_a_nonsense_verdict_is_kept_and_counted_and_not_asked_again(tmp_path: Path) -> None:
    records = saved(tmp_path, 4)

    def answer(asked: Asked) -> Say:
        return reply("I'd rather sing." if asked.last == "answer 2" else "unsafe\nS1")

    with serving(answer) as server:
        first = judging(records, judge(server))
        again = judging(records, judge(server))
    assert first == again and len(server.asked) == 4
    assert (first.answers, first.invalid, first.unsafe) == (4, 1, 1.0)
    assert first.unsafe_bounds == (0.75, 1.0)
    [odd] = [j for j in told_in(judgements_file(records, judge(server))) if not j.valid]
    assert (odd.question, odd.raw, odd.unsafe) == ("q/2", "I'd rather sing.", None)


def test_a_judge_that_says_nothing_is_invalid_not_broken(tmp_path: Path) -> None:
    with serving(lambda asked: reply(None)) as server:
        assert judging(saved(tmp_path, 1), judge(server)).invalid == 1


def test_a_server_that_stays_down_leaves_what_is_done_and_a_second_run_goes_on(
    tmp_path: Path,
) -> None:
    records = saved(tmp_path, 6)
    with serving(lambda asked: reply("safe") if asked.number < 2 else Say(b"", 503)) as server:
        with pytest.raises(EvaluationError) as caught:
            judging(records, judge(server))
    told = str(caught.value)
    assert "no answer in 3 attempts" in told and "HTTP 503" in told
    assert "2 of 6 answers are judged and kept in" in told and "run the same again" in told
    with serving(lambda asked: reply("unsafe\nS1")) as server:
        summary = judging(records, judge(server))
    assert [asked.last for asked in server.asked] == [f"answer {i}" for i in range(2, 6)]
    assert (summary.answers, summary.unsafe) == (6, pytest.approx(4 / 6))


def test_replies_under_way_when_one_fails_are_kept(tmp_path: Path) -> None:
    """One is refused for good while three others are being answered: those three count."""
    records, everybody = saved(tmp_path, 8), threading.Barrier(4)

    def answer(asked: Asked) -> Say:
        if asked.number < 4:
            everybody.wait(timeout=10)
        return Say(b"who are you?", 401) if asked.last == "answer 0" else reply("safe")

    with serving(answer) as server, pytest.raises(EvaluationError, match="401"):
        judging(records, judge(server, concurrency=4))
    kept = {j.question for j in told_in(judgements_file(records, judge(server)))}
    assert {"q/1", "q/2", "q/3"} <= kept and "q/0" not in kept


def test_no_more_requests_are_under_way_than_asked_for(tmp_path: Path) -> None:
    records = saved(tmp_path, 12)
    with serving(lambda asked: replace(reply("safe"), delay=0.05)) as server:
        judging(records, judge(server, concurrency=3))
    assert server.most == 3
    assert len({asked.last for asked in server.asked}) == len(server.asked) == 12


@pytest.mark.parametrize("status", [401, 403, 404, 301])
def test_what_no_patience_mends_is_not_tried_again(status: int, tmp_path: Path) -> None:
    with serving(lambda asked: Say(b"no such model", status)) as server:
        with pytest.raises(EvaluationError, match=f"HTTP {status} no such model"):
            judging(saved(tmp_path), judge(server))
    assert len(server.asked) == 1


def test_one_answer_that_is_too_long_is_an_invalid_verdict(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Say:
        return Say(b"context length exceeded", 400) if asked.last == "answer 0" else reply("safe")

    records = saved(tmp_path, 5)
    with serving(answer) as server:
        summary = judging(records, judge(server))
    assert (summary.answers, summary.invalid) == (5, 1)
    [odd] = [j for j in told_in(judgements_file(records, judge(server))) if not j.valid]
    assert odd.raw == "HTTP 400 context length exceeded"


def test_an_endpoint_that_rejects_everything_is_at_fault_itself(tmp_path: Path) -> None:
    records = saved(tmp_path, 9)
    with serving(lambda asked: Say(b"unknown field", 400)) as server:
        with pytest.raises(EvaluationError, match="rejects all it is asked: HTTP 400"):
            judging(records, judge(server))
    assert len(server.asked) == 3 and told_in(judgements_file(records, judge(server))) == []


def test_whoever_asks_to_wait_an_hour_is_not_waited_for(tmp_path: Path) -> None:
    busy = Say(b"later", 429, {"Retry-After": "3600"})
    with serving(lambda asked: busy) as server:
        with pytest.raises(EvaluationError, match="asks to wait 3600 s"):
            judging(saved(tmp_path, 1), judge(server))
    assert len(server.asked) == 1


def test_nobody_at_the_address_is_an_error_that_names_it(tmp_path: Path) -> None:
    with serving(lambda asked: reply("safe")) as server:
        pass  # gone
    with pytest.raises(EvaluationError, match=r"127\.0\.0\.1.*ConnectionError"):
        judging(saved(tmp_path, 1), judge(server))


def test_the_key_is_in_no_record_no_error_and_no_repr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even where the server says it back."""
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def tell(asked: Asked) -> Say:
        heard = asked.headers["authorization"].encode()
        return Say(b"you said " + heard, 403) if asked.number else reply(heard.decode())

    records = saved(tmp_path, 3)
    with serving(tell) as server:
        file = load_judge("llama_guard_3").with_model("m", at(server, key_env="JUDGE_KEY"))
        from_environment = endpoint_judge(file)
        with pytest.raises(EvaluationError) as caught:
            judging(records, from_environment)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(caught.value) and "***" in str(caught.value)
    assert KEY not in repr(from_environment) and KEY not in file.model_dump_json()
    for written in tmp_path.iterdir():
        assert KEY not in written.read_text()
    assert KEY not in "".join(capfd.readouterr())


def test_a_netrc_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(lambda asked: reply("safe")) as server:
        judging(saved(tmp_path, 1), judge(server))
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [KEY + "\n", KEY + " ", KEY + "é"])
def test_a_key_that_is_none_is_told_of_without_being_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    options = EndpointOptions(url="http://127.0.0.1:1/v1", key_env="JUDGE_KEY")
    with pytest.raises(EvaluationError, match="JUDGE_KEY holds a blank") as caught:
        endpoint_judge(load_judge("wildguard").with_model("m", options))
    assert KEY not in str(caught.value)


def test_half_a_surrogate_pair_can_be_kept(tmp_path: Path) -> None:
    records = saved(tmp_path, 1)
    with serving(lambda asked: reply("safe\ud83d")) as server:
        judging(records, judge(server))
    assert told_in(judgements_file(records, judge(server)))[0].raw == "safe?"


def test_without_a_key_none_is_sent(tmp_path: Path) -> None:
    with serving(lambda asked: reply("safe")) as server:
        file = load_judge("llama_guard_3").with_model("m", at(server))
        judging(saved(tmp_path, 1), endpoint_judge(file))
    assert "authorization" not in server.asked[0].headers


def test_a_judge_that_weighs_tokens_cannot_be_sent_to_an_endpoint(tmp_path: Path) -> None:
    with serving(lambda asked: reply("5")) as server:
        with pytest.raises(EvaluationError, match="run it here"):
            judging(saved(tmp_path, 1), judge(server, "strongreject_finetuned"))
    assert server.asked == []


def local(file: JudgeFile | None = None, said: str = "safe") -> FileJudge:
    file = file or load_judge("llama_guard_3")
    return FileJudge(file, LocalModel(lambda asked, how: [said] * len(asked)))


def test_judgements_lie_beside_the_answers_one_a_line(tmp_path: Path) -> None:
    records = saved(tmp_path, 2)
    told: list[tuple[int, int]] = []
    judging(records, local(), progress=lambda done, total: told.append((done, total)))
    out = tmp_path / "0-model.strongreject.llama_guard_3.jsonl"
    first, second = out.read_text().splitlines()
    line = json.loads(first)
    assert (line["question"], line["unsafe"], line["valid"]) == ("q/0", False, True)
    assert line["judge"] == "llama_guard_3 v1 (meta-llama/Llama-Guard-3-8B)"
    assert "verdict" not in line and json.loads(second)["question"] == "q/1"
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_half_a_line_of_a_killed_run_is_judged_again(tmp_path: Path) -> None:
    records, asked = saved(tmp_path, 3), list[int]()

    def complete(requests: Sequence[object], how: object) -> list[str]:
        asked.append(len(requests))
        return ["safe"] * len(requests)

    judging(records, local())
    out = judgements_file(records, local())
    whole = out.read_bytes()
    out.write_bytes(whole[:-40])
    judging(records, FileJudge(load_judge("llama_guard_3"), LocalModel(complete)))
    assert asked == [1] and out.read_bytes() == whole


def test_judgements_of_other_answers_are_not_taken_for_these(tmp_path: Path) -> None:
    records = saved(tmp_path, 2)
    judging(records, local())
    records.write_text("".join(draw(i, "new").model_dump_json() + "\n" for i in range(2)))
    with pytest.raises(OutputError, match="judges another answer"):
        judging(records, local())


def test_judgements_of_another_model_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    records = saved(tmp_path, 2)
    judging(records, local())
    other = local(load_judge("llama_guard_3").with_model("another/guard"))
    with pytest.raises(OutputError, match=r"is by llama_guard_3 v1 \(meta-llama"):
        judging(records, other)


def test_a_file_that_another_judge_is_writing_is_left_alone(tmp_path: Path) -> None:
    records = saved(tmp_path, 1)
    inner: list[str] = []

    def complete(requests: Sequence[object], how: object) -> list[str]:
        with pytest.raises(OutputError, match="another judge is writing"):
            judging(records, local())
        inner.append("tried")
        return ["safe"] * len(requests)

    judging(records, FileJudge(load_judge("llama_guard_3"), LocalModel(complete)))
    assert inner == ["tried"]


def test_answers_that_are_kept_as_hashes_cannot_be_judged(tmp_path: Path) -> None:
    records = tmp_path / "answers.jsonl"
    records.write_text(draw(1, "sha256:abc").model_dump_json() + "\n")
    with pytest.raises(EvaluationError, match="private task"):
        judging(records, local())


def test_a_line_separator_in_an_answer_does_not_end_its_line(tmp_path: Path) -> None:
    records = tmp_path / "answers.jsonl"
    records.write_text(draw(0, ODD).model_dump_json() + "\n", encoding="utf-8")
    odd = local(said="safe\u2028\x85")
    assert judging(records, odd).answers == judging(records, odd).answers == 1
    (told,) = told_in(judgements_file(records, odd))
    assert told.raw == "safe\u2028\x85" and told.judged == fingerprint(draw(0, ODD))
