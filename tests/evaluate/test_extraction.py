"""Answers out of what chat models say around them. All replies are invented."""

import time
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.errors import EvaluationError
from weightlens.evaluate.extraction.choices import chosen
from weightlens.evaluate.extraction.marked import after_marker, boxed
from weightlens.evaluate.extraction.numerals import exact, last_number, stated_number
from weightlens.evaluate.scorers import exact_scorer, number_scorer
from weightlens.evaluate.task import Question
from weightlens.evaluate.taskfile import Try


def number(reply: str, reference: str = "0") -> str | None:
    """The number that a reply is judged by."""
    return number_scorer()(Question("q", "p", reference), reply).extracted


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("The answer is 18.", "18"),
        ("Two and two.\n#### 18", "18"),
        ("**Answer:** 18", "18"),
        ("**Answer**: $18", "18"),
        ("_Answer_: 18", "18"),
        ("Answer: `18`", "18"),
        ("Answer: \\$18.00", "18"),
        ("Answer = 18", "18"),
        ("<answer>18</answer>", "18"),
        ("### Answer\n\n18 apples", "18"),
        ("**Final Answer**\n\n18", "18"),
        ("The final answer is:\n\n18", "18"),
        ("The answer is:\n$$\n18\n$$", "18"),
        ("The final answer is:\n\\[\n\\boxed{18}\n\\]\nI hope this helps.", "18"),
        ("The answer to the question is 18 hours.", "18"),
        ("The answer (in hours) is 18.", "18"),
        ("Thus the answer would be: 18 km/h", "18"),
        ("The answer is: **18** dogs", "18"),
        ("Answer: 16 + 2 = 18", "18"),
        ("Answer: x = 18", "18"),
        ("The answer is 18 because 20 - 2 = 18", "18"),
        ("The answer is 18. To check: 9 * 2 = 18, and 9 * 3 = 27.", "18"),
        ("Answer: She buys 16 eggs and 3 more and gives 1 away, 16 + 3 = 19 and then 19 - 1 = 18"
         " eggs. So she has 18 left", "18"),
        ("Answer:\nFirst 3 * 4 = 12.\nThen 12 + 6 = 18.", "18"),
        ("So he has 18 apples.", "18"),
        ("So there are 18 (10 + 8) apples.", "18"),
        ("16+2=18", "18"),
        ("\\boxed{18}", "18"),
        ("\\boxed 18", "18"),
        ("\\boxed{\\text{18 dollars}}", "18"),
        ("\\boxed{18\\,\\text{cm}^2}", "18"),
        ("\\boxed{\\$18}", "18"),
        ("\\boxed{12} is wrong; \\boxed{18}", "18"),
        ("\\framebox{18} minutes", "18"),
        ("\\boxed{18} and not \\boxed{19", "18"),
        ("\\boxed{018}", "18"),
        ("The answer is \\(18\\).", "18"),
        ("The answer is $18$.", "18"),
        ("The answer is $18^\\circ$.", "18"),
        ("The answer is 1,234,567 dollars.", "1234567"),
        ("\\boxed{1{,}234}", "1234"),
        ("$1,234.50", "1234.5"),
        ("1, 2, 3", "3"),
        ("The answer is 20%.", "20"),
        ("\\boxed{20\\%}", "20"),
        ("The answer is 3/4.", "3/4"),
        ("\\boxed{\\frac{3}{4}}", "3/4"),
        ("\\boxed{\\dfrac34}", "3/4"),
        ("Answer: 2 1/2", "5/2"),
        ("\\boxed{2\\frac{1}{2}}", "5/2"),
        (".5", "1/2"),
        ("1e3", "1000"),
        ("The answer is -3", "-3"),
        ("The answer is −3", "-3"),
        ("16-7", "7"),
        ("1.5L", "3/2"),
        ("Rs.5", "5"),
    ],
)  # fmt: skip
def test_the_number_of_a_reply_is_found(reply: str, value: str) -> None:
    verdict = number_scorer()(Question("q", "p", value), reply)
    assert (verdict.value, verdict.outcome) == (1, "right"), verdict.extracted


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("\\boxed{6-2\\sqrt{5}}", "not parsed"),
        ("\\boxed{5\\pi}", "not parsed"),
        ("\\boxed{x^5}", "not parsed"),
        ("\\boxed{n+5}", "not parsed"),
        ("The answer is 5-10", "not parsed"),
        ("The answer is 5 or so I think", "right"),
        ("Final answer: five", "no answer"),
        ("", "no answer"),
        ("I will not say.", "no answer"),
        ("1/0", "not parsed"),
        ("5.0000001", "wrong"),
        ("5,000", "wrong"),
        ("-5", "wrong"),
        ("9" * 5000, "no answer"),
        ("\\boxed{" + "9" * 900 + "}", "not parsed"),
        ("1e999999", "not parsed"),
    ],
)
def test_what_is_not_five_is_not_taken_for_five(reply: str, outcome: str) -> None:
    assert number_scorer()(Question("q", "p", "5"), reply).outcome == outcome


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
@settings(deadline=None, max_examples=100)
def test_a_number_means_the_same_with_commas_currency_and_zeros(n: int, zeros: int) -> None:
    decimals = "." + "0" * zeros if zeros else ""
    sign = "-" if n < 0 else ""
    written = f"{sign}${abs(n):,}{decimals}"
    assert exact(written) == n
    stated = stated_number(f"{written} dollars.")
    assert stated is not None and exact(stated) == n


@given(st.integers(-999, 999), st.integers(1, 999))
@settings(deadline=None, max_examples=50)
def test_a_fraction_is_exact(over: int, under: int) -> None:
    assert exact(f"{over}/{under}") == Fraction(over, under)
    sign = "-" if over < 0 else ""
    assert exact(f"{sign}\\frac{{{abs(over)}}}{{{under}}}") == Fraction(over, under)


def test_a_reference_that_is_no_number_is_an_error_with_the_question() -> None:
    with pytest.raises(EvaluationError, match=r"q: the reference 'five' is no number"):
        number_scorer()(Question("q", "p", "five"), "5")


def test_an_exact_answer_is_the_reference_and_nothing_else() -> None:
    question, score = Question("q", "p", "Paris"), exact_scorer()
    assert score(question, " Paris\n").value == 1
    assert score(question, "paris").value == 0
    marked = exact_scorer([Try(by="after_marker")])
    assert marked(question, "Well.\n**Answer:** Paris.").value == 1
    assert marked(question, "Paris").outcome == "no answer"


def test_a_box_ends_where_its_brace_is_closed() -> None:
    assert boxed(r"\boxed{\frac{1}{2}} and {more}") == r"\frac{1}{2}"
    assert boxed(r"\boxed{\left\{1, 2\right.} .") == r"\left\{1, 2\right."
    assert boxed(r"\boxed{a} \fbox{b} \boxed{c") == "b"
    assert boxed(r"\boxed{\boxed{a} + b}") == r"\boxed{a} + b"
    assert boxed("no box") is None


def test_a_marker_is_followed_by_its_line() -> None:
    assert after_marker("The answer is $x=5$.\nBye.") == "$x=5$"
    assert after_marker("The answer is") is None
    assert after_marker("Answer: " + "so " * 60) is None
    assert after_marker("no marker") is None


@pytest.mark.parametrize(
    "unit",
    ["\\boxed{", "{", "answer: ", "answer to ", "**a ", "*a", "the answer is A ", "1,000,", "(A)",
     "9", "9 ", "3 3/", "\\frac{1}", "\n", "A. ", "A\n", "#### ", "1e5", "$$", "\\[", "\\text{",
     "B is correct ", "<answer>", "option is A or B ", " ", "- "],
)  # fmt: skip
def test_a_reply_that_repeats_itself_costs_no_more_than_its_length(unit: str) -> None:
    ways: list[Callable[[str], object]] = [
        boxed, after_marker, last_number, number, lambda reply: chosen(reply, {"A": "a", "B": "b"}),
    ]  # fmt: skip
    reply = unit * (60_000 // len(unit))
    for way in ways:
        began = time.process_time()
        way(reply)
        # time in proportion to the length is tenths of a second, to its square minutes
        assert time.process_time() - began < 10
