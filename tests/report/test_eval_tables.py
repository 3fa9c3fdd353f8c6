"""Results in the terminal: every score with its interval, every difference in words."""

import io

import pytest
from evaluated import REFUSALS, pair, report, result
from rich.console import Console

from weightlens.evaluate.result import EvalReport
from weightlens.report.eval_parts import Kinds
from weightlens.report.eval_tables import eval_tables

BASE, TUNED = "models/base", "models/tuned"
SENTENCE = (
    "no detectable loss: −4.0 points, 95 % −9.0 to +1.0; this set could have shown a loss of 8"
)


def printed(shown: EvalReport, width: int = 120, kinds: Kinds | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False)
    console.print(*eval_tables(shown, kinds or {}), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [start])


def xstest(value: float = 0.5) -> list[object]:
    return [
        result("xstest", 0.08, group="safe", metric=REFUSALS, higher_is_better=False, n=250),
        result("xstest", value, group="unsafe", metric=REFUSALS, n=200),
    ]


def many() -> EvalReport:
    """Six columns: too many for a row a model."""
    tasks = [
        result("gsm8k", 0.62, n=1319, truncated=0.021, degenerate=0.013),
        result("aime24", 0.31, n=30, draws=8, more={"pass@8": 0.7, "seed_spread": 0.023}),
        result("humaneval", 0.4, metric="pass@1"),
        *xstest(),
        result("math500", 0.3, n=500),
    ]
    names = (BASE, "models/a-tuned-model-with-a-long-name", "models/strip")
    pairs = [
        pair(BASE, name, t.task, group=t.group, sentence=SENTENCE, p_adjusted=0.5)  # type: ignore[attr-defined]
        for name in names[1:]
        for t in tasks
    ]
    return report(dict.fromkeys(names, tasks), pairs)  # type: ignore[arg-type]


def test_a_row_a_model_has_every_score_with_its_interval() -> None:
    text = printed(report({BASE: [result("gsm8k", 0.62), result("aime24", 1.0, ci95=(0.9, 1.0))],
                           TUNED: [result("gsm8k", 0.05), result("aime24", 0.0)]}))  # fmt: skip
    assert row(text, "base").split() == [
        "base",
        "62.0",
        "[52.0,",
        "72.0]",
        "100.0",
        "[90.0,",
        "100.0]",
    ]
    assert row(text, "tuned").split()[1:4] == ["5.0", "[-5.0,", "15.0]"]


def test_the_header_says_questions_draws_and_direction() -> None:
    shown = report({BASE: [result("aime24", n=30, draws=8), *xstest()]})  # type: ignore[list-item]
    for text in (printed(shown, 150), printed(shown, 60)):
        for said in ("n = 30 × 8 draws", "n = 250", "accuracy ↑", "xstest safe", "xstest unsafe",
                     f"{REFUSALS} ↓ lower is better", f"{REFUSALS} ↑"):  # fmt: skip
            assert said in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_many_tasks_have_a_line_for_every_model_and_fit(width: int) -> None:
    text = printed(many(), width)
    assert max(map(len, text.splitlines())) <= width
    scores = [line for line in text.splitlines() if line.strip().startswith("base  ")]
    assert len(scores) == 6
    for said in ("xstest safe · ", "62.0 [52.0, 72.0]", "31.0 [21.0, 41.0]", "8.0 [-2.0, 18.0]"):
        assert said in text


def test_few_tasks_have_such_lines_too_where_a_row_does_not_fit() -> None:
    shown = report({BASE: [result("gsm8k"), result("aime24"), *xstest()]})  # type: ignore[list-item]
    assert "gsm8k · accuracy ↑ · n = 50" in printed(shown, 80)
    assert "gsm8k · accuracy" not in printed(shown, 160)


def test_truncated_and_degenerate_stand_beside_each_score_that_has_them() -> None:
    bad = result("gsm8k", truncated=0.021, degenerate=0.04)
    shown = report({BASE: [bad, result("aime24")], TUNED: [result("gsm8k"), result("aime24")]})
    for width in (120, 40):
        text = " ".join(printed(shown, width).split())
        assert text.count("2.1 % truncated") == 1
        assert text.count("4.0 % degenerate") == 1
        assert "0.0 % truncated" not in text


def test_degenerate_answers_are_told_by_kind_where_the_draws_are_at_hand() -> None:
    shown = report({BASE: [result("gsm8k", degenerate=0.04)]})
    kinds = {(BASE, "gsm8k", ""): {"looping": 0.03, "language": 0.01, "empty": 0.0}}
    assert "4.0 % degenerate (3.0 % looping, 1.0 % wrong language)" in printed(shown, kinds=kinds)


def test_further_figures_stand_beside_the_score() -> None:
    text = printed(many())
    assert "pass@8 70.0; seed spread 2.3 points" in text


def test_what_is_measured_in_nats_is_no_share() -> None:
    kl = result("drift", 0.083, metric="kl_nats", higher_is_better=False)
    text = printed(report({BASE: [kl], TUNED: [kl]}, [pair(BASE, TUNED, "drift")]))
    assert "0.083 [-0.017, 0.183]" in text
    assert "−0.040, 95 % −0.090 to +0.010; this set could have shown 0.080" in text


def test_differences_are_sentences_with_adjusted_p_and_flips() -> None:
    tasks = [result("gsm8k"), result("aime24")]
    pairs = [pair(BASE, TUNED, "gsm8k", sentence=SENTENCE, p_adjusted=0.25),
             pair(BASE, TUNED, "aime24", p=1e-9, p_adjusted=2e-9)]  # fmt: skip
    text = printed(report({BASE: tasks, TUNED: tasks}, pairs), 200)
    assert "tuned against base, paired by question" in text
    line = next(x for x in text.splitlines() if "no detectable loss" in x)
    assert SENTENCE in line
    assert line.split()[0] == "gsm8k"
    assert line.split()[-3:] == ["0.25", "3", "1"]
    assert "< 0.0001" in next(x for x in text.splitlines() if "−4.0 points, 95 % −9.0 to +1.0;" in x
                              and "aime24" in x)  # fmt: skip
    assert "Holm's method over 2 comparisons" in text


def test_p_is_not_called_adjusted_where_it_is_not() -> None:
    tasks = [result("gsm8k")]
    text = printed(report({BASE: tasks, TUNED: tasks}, [pair(BASE, TUNED, "gsm8k")]))
    assert "Holm" not in text
    assert "0.12" in text  # 0.125 in two digits


def test_a_model_without_a_task_and_one_with_other_questions_say_so() -> None:
    shown = report({BASE: [result("gsm8k"), result("aime24")], TUNED: [result("gsm8k", n=20)]})
    for width in (120, 40):
        text = printed(shown, width)
        assert "n = 20" in text
        assert "–" in text


def test_names_are_short_and_told_in_full_below() -> None:
    shown = report({"/deep/down/runs/base": [result("gsm8k")], "/x/base": [result("gsm8k")]})
    text = printed(shown)
    assert row(text, "runs/base")
    assert row(text, "x/base")
    assert "runs/base: /deep/down/runs/base" in text


def test_notes_and_settings_are_told() -> None:
    settings = {"split": "test", "limit": 50, "temperature": 0.6, "top_p": None}
    shown = report({BASE: [result("gsm8k")]}, notes=["gsm8k: a note"], settings=settings)
    text = printed(shown)
    assert "suite made up, test split, at most 50 questions a task, temperature 0.6: %" in text
    assert "gsm8k: a note" in text


def test_names_are_no_markup() -> None:
    shown = report({"[bold]x[/nonsense]": [result("[red]task")]})
    console = Console(file=io.StringIO(), width=150)
    console.print(*eval_tables(shown), sep="\n")
    assert "[bold]x[/nonsense]" in console.file.getvalue()  # type: ignore[attr-defined]
