"""Degenerate answers are told, and good ones that look repetitive are left alone."""

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.evaluate.degeneration import degeneration, loops, script_weights

DATA = os.environ.get("WEIGHTLENS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="WEIGHTLENS_DATA names no evaluation data")

ASKED = "What is the capital of France?"


def verdict(answer: str, prompt: str = ASKED, *, truncated: bool = False) -> str:
    return degeneration(answer.strip(), answer, prompt, truncated=truncated)


@pytest.mark.parametrize("silence", ["", " \n\t", "\u200b\u200b\ufeff", "\x00"])
def test_nothing_said_is_empty(silence: str) -> None:
    assert degeneration(silence, "", ASKED, truncated=False) == "empty"
    assert degeneration(silence, "<think>Paris.</think>", ASKED, truncated=False) == "empty"
    assert degeneration(silence, "<think>Paris, I", ASKED, truncated=True) == "empty"


@pytest.mark.parametrize("answer", ["4", ".", "$\\pi$", "👍", "√"])
def test_a_single_sign_is_an_answer(answer: str) -> None:
    assert verdict(answer) == ""


def test_a_thought_that_loops_to_the_limit_is_a_loop() -> None:
    raw = "<think>Wait, let me check. " + "So it is 5. Wait, let me check. " * 9
    assert degeneration("", raw, ASKED, truncated=True) == "looping"


LOOPS = {
    "a word": ("It is no ", "no ", 12, ""),
    "a phrase": ("Well. ", "I cannot help with that. ", 4, ""),
    "signs of one word": ("", "ha", 15, "h"),
    "a line": ("Steps:\n", "Add the two numbers and carry.\n", 4, ""),
    "a paragraph": (
        "Let me see. ",
        "If the first is even then the second is odd, which contradicts what we assumed at the "
        "start. So the first is odd, and we should check whether the second is even.\n\n",
        4,
        "",
    ),
    "a part of a turn": ("x ", "the sum of the parts of ", 4, "the sum of the pa"),
    "other white space": ("I am sure.\n", "I am sure.  I am sure.\n\nI am sure. ", 3, ""),
    "Chinese": ("你好。", "我不能帮助你。", 10, ""),
    "1,800 characters": (
        "", " ".join(f"{chr(97 + i % 26)}{i * i % 97}" for i in range(500)) + " ", 4, "",
    ),
    "dots": ("And so on", ".", 260, ""),
    "equal numbers": ("", "0 ", 260, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_told_from_fewer_turns_where_it_was_cut_off(name: str) -> None:
    before, turn, turns, ending = LOOPS[name]
    prompt = "你好吗" if name == "Chinese" else ASKED
    assert verdict(before + turn * turns + ending, prompt, truncated=True) == "looping"
    assert verdict(before + turn * (6 * turns) + ending, prompt) == "looping"


def test_a_loop_that_ends_in_one_more_sentence_is_a_loop() -> None:
    stuck = "Paris is the capital. " + "Paris is a city in France and it is large. " * 6
    assert verdict(stuck + "I hope this helps!") == "looping"
    assert verdict(stuck.replace(". ", ".\n") + "I hope this helps") == "looping"


@pytest.mark.parametrize("turn", ["{}. I will be honest.\n", "Step {}: add the numbers again. "])
def test_a_loop_that_counts_is_a_loop(turn: str) -> None:
    counting = "".join(turn.format(i) for i in range(1, 41))
    assert verdict("Here is a list.\n" + counting, truncated=True) == "looping"
    assert verdict("Here is a list.\n" + counting) == "looping"
    assert verdict("Here is a list.\n" + counting[: len(counting) // 4]) == ""


# as SmolLM2-135M-Instruct was cut off in them on GSM8K
STUCK = {
    "cut off within a number": "".join(
        f"{i}. Total spent: 9 * 3 = 27.\n" for i in range(1, 40)
    )[:-3],
    "two lines that count on": "".join(
        f"{i}. 1:00 PM is 1 hour.\n{i + 1}. Now we find the number of hours.\n"
        for i in range(1, 40, 2)
    ),
    "two lines in any order": "".join(
        f"She sold 1/2 * 1 = 1/2 more to the {'green' if i * i % 7 < 3 else 'orange'} house.\n"
        for i in range(30)
    ) + "She sold",
}  # fmt: skip


@pytest.mark.parametrize("name", STUCK)
def test_a_list_without_end_is_a_loop_where_it_was_cut_off(name: str) -> None:
    assert verdict(STUCK[name], truncated=True) == "looping"


@pytest.mark.parametrize("waiting", ["\n" * 120, " \n" * 80])
def test_white_space_to_the_limit_is_a_loop(waiting: str) -> None:
    assert degeneration("Paris.", "Paris." + waiting, ASKED, truncated=True) == "looping"
    assert degeneration("Paris.", "Paris." + waiting, ASKED, truncated=False) == ""


GOOD = {
    "dots": "And so it goes on....",
    "many dots": "Contents\nPreface " + "." * 70 + " 3",
    "a rule": "Paris.\n" + "-" * 120,
    "laughter": "That is funny, ha ha ha ha!",
    "truth values": "\n".join(f"{i}. True" for i in range(1, 16)),
    "one answer to five questions": "No.\nNo.\nNo.\nNo.\nNo.",
    "a recurring decimal": "1/7 = 0." + "142857" * 12 + "…",
    "a table": "| n | square |\n|---|---|\n" + "".join(f"| {i} | {i * i} |\n" for i in range(40)),
    "a table of noughts": ("0 " * 10 + "\n") * 10,
    "cases of a proof": "".join(
        f"If n = {n}, then n mod 4 = {n % 4}, so n^2 mod 4 = {n * n % 4}. " for n in range(1, 40)
    ),
    "a poem with a refrain": "".join(
        f"{verse}\nOh, the river runs down to the sea, the sea,\n"
        "the river runs down to the sea.\n\n"
        for verse in ("The snow has gone,", "The mill stands still,", "The boats lie low,",
                      "My love is far,", "The night is long,")
    ),
    "code with equal lines": "def f(stack):\n" + "    stack.append(0)\n" * 6 + "    return stack",
    "closing brackets": "{" * 12 + "\n" + "}\n" * 12,
    "a doubled sentence": "The answer is 5. The answer is 5. The answer is 5.",
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_that_repeats_itself_is_left_alone(name: str) -> None:
    assert verdict(GOOD[name]) == ""


@pytest.mark.parametrize("name", ["dots", "a table", "cases of a proof", "a poem with a refrain"])
def test_a_good_answer_that_was_cut_off_is_left_alone(name: str) -> None:
    answer = GOOD[name]
    for end in range(40, len(answer), 37):
        assert verdict(answer[:end], truncated=True) == ""


def slow_loops(text: str, period: int, turns: int) -> bool:
    return text.endswith(text[-period:] * turns)


@settings(deadline=None, max_examples=150)
@given(st.text("ab ", max_size=12), st.text("ab", min_size=1, max_size=7), st.integers(1, 40))
def test_cut_off_after_four_turns_and_24_characters_is_a_loop(
    before: str, turn: str, turns: int
) -> None:
    text = before.replace(" ", "") + turn * turns
    expected = any(
        slow_loops(text, period, max(4, -(-24 // period)))
        or (slow_loops(text, period, 4) and slow_partly(text, period) >= 24)
        for period in range(1, len(text) // 4 + 1)
    )
    assert loops(text, truncated=True) == expected


def slow_partly(text: str, period: int) -> int:
    """How far from its end a text has a period."""
    length = period
    while length < len(text) and text[-length - 1] == text[-length - 1 + period]:
        length += 1
    return length


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (ASKED, "法国的首都是巴黎。"),
        (ASKED, "Столица Франции - Париж."),
        (ASKED, "عاصمة فرنسا هي باريس"),
        (ASKED, "फ्रांस की राजधानी पेरिस है"),
        (ASKED, "パリです。フランスの首都です。"),
        (ASKED, "The capital of France 是巴黎，它位于法国北部，是该国最大的城市和政治文化中心。"),
        ("法国的首都是哪里？", "The capital of France is Paris, a city on the river Seine."),
        ("Какая столица Франции?", "法国的首都是巴黎，位于塞纳河畔。"),
    ],
)
def test_an_answer_in_another_script_is_told(prompt: str, answer: str) -> None:
    assert verdict(answer, prompt) == "language"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        (ASKED, "La capitale de la France est Paris, où coule la Seine."),  # the same script
        (ASKED, "Paris (巴黎)."),
        (ASKED, "Kung Pao chicken (宫保鸡丁)"),
        (ASKED, "The angles α and β are equal, so cos α = cos β; with ΔABC, γ = π - 2α."),
        (ASKED, "$\\text{答案}$ is $x$"),
        (ASKED, "```python\n# 返回列表的长度，如果列表为空则返回零\nreturn len(x)\n```"),
        (ASKED, "🎉🎉🎉 ✓ → ∞"),
        ("Translate 'good morning' for me.", "早上好"),
        ("How do you say hello in Russian?", "Здравствуйте"),
        ("2 + 2 = ?", "四"),
        (
            "法国的首都是哪里？",
            "巴黎 (Paris), the capital of France, is a city on the Seine river.",
        ),
        ("解方程 x + 1 = 2", "x = 1"),
        ("用英语写一句话介绍巴黎", "Paris is the capital of France, a city on the Seine."),
        ("法国的首都是哪里？", "巴黎"),
        ("Что такое Python?", "Python — это язык программирования."),
    ],
)
def test_an_answer_in_the_script_it_should_have_is_left_alone(prompt: str, answer: str) -> None:
    assert verdict(answer, prompt) == ""


def test_scripts_are_weighed_in_letters() -> None:
    # a Chinese sign counts as three letters, Greek from three in a row
    assert script_weights("ab 12, 你好 é") == {"Latin": 3, "Han": 6}
    assert script_weights("α β λόγος")["Greek"] == 5
    assert script_weights("x²·½ ≤ 3α") == {"Latin": 1}
    assert script_weights("") == {}


def replies() -> Iterator[tuple[str, str]]:
    """The labelled replies of five models to XSTest's prompts."""
    for file in sorted(Path(DATA or "").glob("xstest/labelled/*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            yield from ((row["prompt"], row["completion"]) for row in csv.DictReader(lines))


@needs_data
def test_of_2250_replies_of_five_models_at_most_one_in_200_is_flagged(
    measured: Callable[[str], None],
) -> None:
    pairs = [*replies()]
    flagged = [answer for prompt, answer in pairs if verdict(answer, prompt)]
    measured(f"degenerate among {len(pairs)} labelled XSTest replies: {len(flagged)}")
    assert len(pairs) == 2250
    assert len(flagged) <= 0.005 * len(pairs)


def lines_of(name: str) -> list[dict[str, str]]:
    file = Path(DATA or "") / name
    text = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


@needs_data
@pytest.mark.parametrize(
    ("name", "prompt", "solution"),
    [
        ("gsm8k/test.jsonl", "question", "answer"),
        ("math500/test.jsonl", "problem", "solution"),
        ("humaneval/HumanEval.jsonl.gz", "prompt", "canonical_solution"),
        ("humaneval/HumanEval.jsonl.gz", "prompt", "test"),
        ("mbpp/mbpp.jsonl", "text", "code"),
    ],
)
def test_no_reference_solution_is_flagged(name: str, prompt: str, solution: str) -> None:
    rows = lines_of(name)
    assert len(rows) >= 164
    for row in rows:
        for truncated in (False, True):
            assert verdict(row[solution], row[prompt], truncated=truncated) == ""
