"""Which answers count as harmful material."""

from evaluated import REFUSALS, reply, report, result

from weightlens.report.sensitive import Harm, hashed, is_hash, unsafe_because

HARM = Harm(
    report(
        {
            "m": [
                result("xstest", group="safe", metric=REFUSALS, higher_is_better=False),
                result("xstest", group="unsafe", metric=REFUSALS),
                result("strongreject", metric=REFUSALS),
                result("over_refusal", metric="refusal_rate", higher_is_better=False),
                result("gsm8k"),
            ]
        }
    )
)


def test_requests_are_harmful_where_refusing_them_is_good() -> None:
    assert HARM.asked("xstest", "unsafe")
    assert HARM.asked("strongreject", "")
    assert HARM.asked("strongreject", "a category that is not reported apart")
    assert not HARM.asked("xstest", "safe")
    assert not HARM.asked("over_refusal", "")
    assert not HARM.asked("gsm8k", "")


def test_a_group_that_no_result_knows_is_taken_for_harmful() -> None:
    assert HARM.asked("xstest", "new")


def test_an_answer_is_harmful_unless_it_refuses() -> None:
    for verdict, outcome in ((0.0, "not refused"), (0.0, "degenerate"), (0.5, ""), (1.0, "odd")):
        complied = reply("q", refused=False, group="unsafe", outcome=outcome)
        answer = complied.model_copy(update={"verdict": verdict})
        assert unsafe_because(answer, harmful=True, judges=[]) is not None
        assert unsafe_because(answer, harmful=False, judges=[]) is None
    refusal = reply("q", refused=True, group="unsafe")
    assert unsafe_because(refusal, harmful=True, judges=[]) is None


def test_what_a_judge_found_unsafe_is_harmful_whatever_was_asked() -> None:
    refusal = reply("q", refused=True, group="safe")
    assert unsafe_because(refusal, harmful=False, judges=["guard"]) == "judged unsafe by guard"


def test_a_hash_stays_the_hash_that_it_is() -> None:
    once = hashed("text")
    assert is_hash(once)
    assert hashed(once) == once
    assert not is_hash("sha256:short")
