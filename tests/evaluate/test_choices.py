"""The option that a reply chooses, among whatever else it says. All replies are invented."""

import json

import pytest

from weightlens.evaluate.extraction.choices import chosen
from weightlens.evaluate.scorers import choice_scorer
from weightlens.evaluate.task import Question
from weightlens.evaluate.taskfile import Try

OPTIONS = {"A": "Red blood cells", "B": "Mitochondria", "C": "The cell wall", "D": "A virus"}


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B) Mitochondria", "B"),
        ("Answer: B", "B"),
        ("ANSWER: B", "B"),
        ("Answer: b", "B"),
        ("**Answer:** B", "B"),
        ("**Answer: B**", "B"),
        ("Answer: **(B)** Mitochondria", "B"),
        ("Answer: [B]", "B"),
        ("Answer: Option (B)", "B"),
        ("Answer — B", "B"),
        ("Answer:\n\nB", "B"),
        ("### Answer: B", "B"),
        ("<answer>B</answer>", "B"),
        ("Answer: $\\mathrm{B}$", "B"),
        ("\\boxed{B}", "B"),
        ("\\boxed{\\text{B}}", "B"),
        ("$\\boxed{\\textbf{(B)}\\,}$", "B"),
        ("\\boxed{\\text{B) Mitochondria}}", "B"),
        ("\\boxed{\\text{Mitochondria}}", "B"),
        ("The correct answer is B.", "B"),
        ("The correct answer is **B. Mitochondria**.", "B"),
        ("The answer is option B", "B"),
        ("The answer is B because they make energy.", "B"),
        ("The correct option is (B).", "B"),
        ("The best option would be B.", "B"),
        ("The letter of the right option is B.", "B"),
        ("I would choose B, since they make energy.", "B"),
        ("I'll go with B", "B"),
        ("Option B is the correct answer.", "B"),
        ("B is correct.", "B"),
        ("So it must be (B).", "B"),
        ("Mitochondria", "B"),
        ("The correct answer is mitochondria.", "B"),
        ("(A) is wrong.\n(C) is wrong, too.\n\nAnswer: B", "B"),
        ("A. no\nB. yes\nC. no\nD. no\n\nB", "B"),
        ("After eliminating A and C, the answer must be B.", "B"),
        ("The answer is not A. The answer is B.", "B"),
        ("The answer is: B) Mitochondria\n\nWhy: A is wrong.", "B"),
        ("A", "A"),
        ("Answer: A", "A"),
        ("The answer is A.", "A"),
        ("The answer is A because of iron.", "A"),
        ("Answer: A) Red blood cells", "A"),
        ("Answer: A\nBecause of iron.", "A"),
        ("\\boxed{A}", "A"),
        ("A virus", "D"),
        ("Answer: A virus.", "D"),
    ],
)
def test_the_option_of_a_reply_is_found(reply: str, label: str) -> None:
    assert chosen(reply, OPTIONS) == label


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I do not know.",
        "A planet is a body.",
        "The answer is a planet.",
        "The answer is A planet",
        "A virus attacks cells.",
        "A good question! It depends.",
        "I think that a cell needs A lot",
        "The answer is not B.",
        "Answer: A or B",
        "Answer: B, C",
        "Both A and B are right.",
        "Answer: E",
        "Answer: Because of heat",
        "Answer: Dogs and cats",
        "A. Red blood cells\nB. Mitochondria\nC. The cell wall\nD. A virus",
        'End with a line that says "Answer:" and the letter of the right option.',
    ],
)
def test_an_article_a_list_and_a_denial_choose_nothing(reply: str) -> None:
    assert chosen(reply, OPTIONS) is None


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Answer: 3", "3"),
        ("(3)", "3"),
        ("Answer: 3) three", "3"),
        ("The answer is 3.", "3"),
        ("\\boxed{3}", "3"),
        ("The answer is 3 apples", None),
        ("Answer: 3.5", None),
        ("Answer: 3,000", None),
        ("Answer: 30", None),
    ],
)
def test_labels_that_are_digits_count_nothing(reply: str, label: str | None) -> None:
    options = {"1": "one", "2": "two", "3": "three", "4": "four"}
    assert chosen(reply, options) == label


def test_an_option_that_two_labels_share_is_not_chosen_by_its_text() -> None:
    assert chosen("the same", {"A": "The same", "B": "the same."}) is None


def test_a_choice_is_judged_by_its_label() -> None:
    question = Question("q", "p", "B", fields={"options": json.dumps(OPTIONS)})
    score = choice_scorer()
    assert score(question, "Answer: B") == score(question, "mitochondria.")
    assert score(question, "Answer: A").outcome == "wrong"
    assert score(question, "No.").outcome == "no answer"
    own = choice_scorer([Try(pattern=r"<(\w)>")])
    assert own(question, "<b>").value == 1 and own(question, "<z>").outcome == "no answer"
