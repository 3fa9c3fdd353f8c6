"""Formulas compared by math-verify, in a process that may hang or die."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from weightlens.errors import EvaluationError
from weightlens.evaluate.scorers import formula, formula_scorer
from weightlens.evaluate.scorers.formula import Equivalence
from weightlens.evaluate.task import Question, Verdict
from weightlens.evaluate.taskfile import Try

score = formula_scorer()


def judged(reference: str, reply: str) -> Verdict:
    """The verdict on a reply."""
    return score(Question("q", "p", reference), reply)


@pytest.fixture
def equivalence() -> Iterator[Equivalence]:
    """A process of the test's own, which waits for three seconds."""
    own = Equivalence(seconds=3.0)
    yield own
    own.close()


@pytest.mark.parametrize(
    ("reference", "reply"),
    [
        (r"\frac{1}{2}", r"\boxed{0.5}"),
        (r"\frac{1}{2}", r"\boxed{1/2}"),
        (r"\frac12", r"So $\boxed{\dfrac{1}{2}}$."),
        ("5", r"\boxed{x=5}"),
        ("5", r"\boxed{5\text{ cm}}"),
        ("36", r"\boxed{\$36}"),
        (r"\$36", r"\boxed{36}"),
        ("10000", r"\boxed{10{,}000}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"\boxed{(3, \pi/2)}"),
        ("x^2+2x+1", r"\boxed{(x+1)^2}"),
        ("1,2", r"\boxed{2, 1}"),
        (r"3\sqrt{13}", r"\(\boxed{3\sqrt{13}}\)"),
        (r"\text{Evelyn}", "The answer is **Evelyn**."),
        (r"\text{(E)}", r"\boxed{E}"),
        (r"90^\circ", r"\boxed{90}"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}"),
        ("5", "The answer is $x=5$, because $2+3=5$."),
        ("12", "### Final Answer:\n\\[\n12\n\\]"),
        ("12", "So there are 12 apples."),
    ],
)
def test_equivalent_formulas_are_right(reference: str, reply: str) -> None:
    verdict = judged(reference, reply)
    assert (verdict.value, verdict.outcome) == (1, "right")
    assert verdict.extracted


@pytest.mark.parametrize(
    ("reference", "reply", "outcome"),
    [
        ("6", r"\boxed{7}", "wrong"),
        (r"\frac{1}{3}", r"\boxed{0.33}", "wrong"),
        ("x+1", r"\boxed{x-1}", "wrong"),
        ("6", "", "no answer"),
        ("6", "I do not know.", "no answer"),
        ("6", r"\boxed{}", "no answer"),
        ("6", r"\boxed{" + "(" * 40 + "}", "wrong"),
        ("6", "Answer: }{", "not parsed"),
    ],
)
def test_others_are_not(reference: str, reply: str, outcome: str) -> None:
    verdict = judged(reference, reply)
    assert (verdict.value, verdict.outcome) == (0, outcome)


def test_a_task_that_names_its_ways_reads_nothing_else() -> None:
    own = formula_scorer([Try(by="boxed")])
    assert own(Question("q", "p", "5"), "The answer is 5").outcome == "no answer"


def test_answers_are_judged_from_any_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        replies = [rf"\boxed{{{i} + 1}}" for i in range(12)]
        verdicts = list(pool.map(lambda reply: judged("4", reply), replies))
    assert [v.value for v in verdicts] == [float(i == 3) for i in range(12)]


def test_a_formula_that_hangs_is_given_up_and_the_next_one_is_judged(
    equivalence: Equivalence,
) -> None:
    assert equivalence.judge("5", "2+3") == ("right", "2+3")
    began = time.monotonic()
    assert equivalence.judge("5", "10^{10^{10}}") == ("not parsed", None)
    assert time.monotonic() - began < 10
    assert equivalence.judge("5", "2+3") == ("right", "2+3")


def test_a_process_that_died_is_started_again(equivalence: Equivalence) -> None:
    equivalence.judge("1", "2")
    process = equivalence._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert equivalence.judge("5", "4+1")[0] == "right"


def test_a_missing_math_verify_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, equivalence: Equivalence
) -> None:
    monkeypatch.setattr(formula, "_PROGRAM", formula._PROGRAM.with_name("gone.py"))
    with pytest.raises(EvaluationError, match=r"pip install 'weightlens-toolkit\[eval\]'"):
        equivalence.judge("1", "2")


def test_no_process_is_left_behind(equivalence: Equivalence) -> None:
    equivalence.judge("1", "2")
    process = equivalence._process
    assert process is not None
    equivalence.close()
    assert process.poll() is not None
