"""HumanEval and MBPP: invented questions, and the reference solutions where the data is at hand."""

import gzip
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weightlens.errors import EvaluationError
from weightlens.evaluate.code.limits import Limits
from weightlens.evaluate.code.programs import Kind, code_scorer
from weightlens.evaluate.code.sandbox import Sandbox
from weightlens.evaluate.task import Question, Verdict

HEADER = '''from typing import List


def shift(x: int) -> int:
    """ One more. """
    return x + 1


def unshift_all(numbers: List[int]) -> List[int]:
    """ Undo shift on every number. """
'''

HUMANEVAL = Question(
    "T/0",
    HEADER,
    "",
    fields={
        "prompt": HEADER,
        "entry_point": "unshift_all",
        "test": (
            "def check(candidate):\n"
            "    assert candidate([shift(1), shift(5)]) == [1, 5]\n"
            "    assert candidate([]) == [], 'nothing from nothing'\n"
        ),
    },
)


def mbpp(*tests: str, setup: str = "") -> Question:
    return Question("1", "…", "", fields={"tests": json.dumps(tests), "setup": setup})


def fenced(text: str) -> str:
    return f"```python\n{text}\n```"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """Behind the best wall of this machine."""
    return Sandbox.detect(unsafe=True, limits=Limits(wall_seconds=60.0))


@pytest.fixture(scope="module")
def humaneval(sandbox: Sandbox) -> Callable[[str], Verdict]:
    score = code_scorer(sandbox, "humaneval")
    return lambda answer: score(HUMANEVAL, answer)


def test_a_right_function_passes(humaneval: Callable[[str], Verdict]) -> None:
    program = "def unshift_all(numbers):\n    return [n - 1 for n in numbers]\n"
    verdict = humaneval(f"Here you are:\n{fenced(program)}")
    assert (verdict.value, verdict.outcome) == (1.0, "passed")
    assert verdict.extracted is not None
    assert verdict.extracted.rstrip().endswith(program.rstrip())


def test_a_right_body_passes(humaneval: Callable[[str], Verdict]) -> None:
    assert humaneval("    return [n - 1 for n in numbers]\n").value == 1.0


def test_a_wrong_function_fails_with_the_line_that_it_failed(
    humaneval: Callable[[str], Verdict],
) -> None:
    verdict = humaneval("    return numbers\n")
    assert verdict.value == 0.0
    assert verdict.outcome == (
        "failed: AssertionError: assert candidate([shift(1), shift(5)]) == [1, 5]"
    )
    verdict = humaneval("    return [n - 1 for n in numbers] or None\n")
    assert verdict.outcome.startswith("failed: AssertionError: nothing from nothing: assert")


def test_the_tests_use_the_header_s_helper_and_not_the_program_s(
    humaneval: Callable[[str], Verdict],
) -> None:
    # with this shift, doing nothing would be right
    cheat = "def shift(x):\n    return x\n\ndef unshift_all(numbers):\n    return numbers\n"
    assert humaneval(fenced(cheat)).value == 0.0


def test_what_raises_or_says_nothing_is_told(humaneval: Callable[[str], Verdict]) -> None:
    assert humaneval("I cannot do that.") == Verdict(0.0, None, "no program")
    verdict = humaneval("    return numbers[99]\n")
    assert verdict.outcome.startswith("failed: IndexError: list index out of range: assert")
    assert humaneval(fenced("import numpy\n" + HEADER + "    return []\n")).outcome == (
        "failed: ModuleNotFoundError: No module named 'numpy'"
    )


# assertions, setup, a program that passes them, one that does not
MBPP = {
    "a comparison": (["assert add(1, 2) == 3"], "", "add = lambda a, b: a + b", "add = max"),
    "sets": (
        ["assert set(common([1, 2], [2, 3])) == set([2])"],
        "",
        "def common(a, b):\n    return (x for x in a if x in b)",
        "def common(a, b):\n    return a\ndef set(x):\n    return 0",
    ),
    "a module of the setup": (
        ["assert math.isclose(area(1), 3.1416, rel_tol=0.001)"],
        "import math",
        "def area(r):\n    return 22 / 7 * r * r * 0.9997",
        "class math:\n    isclose = lambda *a, **k: True\ndef area(r):\n    return 0",
    ),
    "a module that nobody imported": (
        ["assert size(()) == sys.getsizeof(())"],
        "",
        "import sys\ndef size(t):\n    return sys.getsizeof(t)",
        "class sys:\n    getsizeof = lambda x: 0\ndef size(t):\n    return 0",
    ),
    "a function named as a built-in one": (
        ["assert sum(10, 15) == 6"],
        "",
        "def sum(a, b):\n    return 6",
        "def add(a, b):\n    return 6",
    ),
    "a class of the program": (
        ["assert longest([Pair(1, 2), Pair(3, 9)]).b == 9"],
        "",
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def longest(pairs):\n    return max(pairs, key=lambda p: p.b - p.a)",
        "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
        "def longest(pairs):\n    return min(pairs, key=lambda p: p.b - p.a)",
    ),
    "truth": (["assert odd(3)", "assert not odd(4)"], "", "odd = lambda n: n % 2", "odd = bool"),
    "a match object": (
        ["assert found('ab')", "assert not found('b')"],
        "",
        "import re\ndef found(s):\n    return re.match('a', s)",
        "import re\ndef found(s):\n    return re.search('b', s)",
    ),
    "values of the standard library": (
        [
            "assert counts('aab') == {'a': 2, 'b': 1}",
            "assert list(counts('xx').items())[0][1] == 2",
        ],
        "",
        "import collections\ncounts = collections.Counter",
        "import collections\ncounts = lambda s: collections.Counter(s[1:])",
    ),
    "an argument changed in place is a copy": (
        ["a = [3, 1, 2]\nassert ordered(a) == [1, 2, 3] and a == [3, 1, 2]"],
        "",
        "def ordered(a):\n    a.sort()\n    return a",
        "def ordered(a):\n    return a.sort()",
    ),
}


@pytest.mark.parametrize("case", MBPP)
def test_assertions_of_every_shape(sandbox: Sandbox, case: str) -> None:
    tests, setup, right, wrong = MBPP[case]
    score = code_scorer(sandbox, "mbpp")
    question = mbpp(*tests, setup=setup)
    assert score(question, fenced(right)).outcome == "passed"
    assert score(question, fenced(wrong)).value == 0.0


def test_a_question_without_its_tests_is_at_fault(sandbox: Sandbox) -> None:
    with pytest.raises(EvaluationError, match="question T/1: no field test"):
        fields = {"prompt": HEADER, "entry_point": "f"}
        code_scorer(sandbox, "humaneval")(Question("T/1", "", "", fields=fields), "pass")
    with pytest.raises(EvaluationError, match="question 1: its tests are no Python"):
        code_scorer(sandbox, "mbpp")(mbpp("assert f("), "pass")
    with pytest.raises(EvaluationError, match="question 2: its field 'tests' is no JSON list"):
        bad = Question("2", "", "", fields={"tests": "assert f() == 1"})
        code_scorer(sandbox, "mbpp")(bad, "pass")


Row = tuple[Question, str]

BROKEN = 1 if os.environ.get("WEIGHTLENS_SOAK") == "1" else 5
"""Of the questions every so many are answered wrongly; all of them when there is time."""


def _data(name: str) -> Path:
    folder = os.environ.get("WEIGHTLENS_DATA")
    if not folder:
        pytest.skip("WEIGHTLENS_DATA names no folder of evaluation data")
    path = Path(folder) / name
    if not path.is_file():
        pytest.skip(f"WEIGHTLENS_DATA has no {name}")
    return path


def _humaneval_rows() -> list[Row]:
    with gzip.open(_data("humaneval/HumanEval.jsonl.gz"), "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return [(_humaneval_question(row), row["canonical_solution"]) for row in rows]


def _humaneval_question(row: dict[str, str]) -> Question:
    fields = {name: row[name] for name in ("prompt", "test", "entry_point")}
    return Question(row["task_id"], row["prompt"], "", fields=fields)


def _mbpp_row(row: dict[str, object], setup: str) -> Row:
    fields = {"tests": json.dumps(row["test_list"]), "setup": setup}
    return Question(str(row["task_id"]), "", "", fields=fields), str(row["code"])


def _sanitized_rows() -> list[Row]:
    rows = json.loads(_data("mbpp/sanitized-mbpp.json").read_text())
    return [_mbpp_row(row, "\n".join(row["test_imports"])) for row in rows]


def _test_split_rows() -> list[Row]:
    with open(_data("mbpp/mbpp.jsonl")) as lines:
        rows = [json.loads(line) for line in lines]
    return [_mbpp_row(r, r["test_setup_code"]) for r in rows if 11 <= r["task_id"] <= 510]


def _passed(
    sandbox: Sandbox, kind: Kind, rows: list[Row], answers: Iterable[str]
) -> dict[str, Verdict]:
    """The verdicts by question, two programs at a time."""
    score = code_scorer(sandbox, kind)
    with ThreadPoolExecutor(2) as threads:
        verdicts = threads.map(score, (question for question, _ in rows), answers)
        return {question.id: verdict for (question, _), verdict in zip(rows, verdicts, strict=True)}


def _failing(verdicts: dict[str, Verdict]) -> list[str]:
    return [name for name, verdict in verdicts.items() if verdict.value != 1.0]


def test_humaneval_s_solutions_all_pass(sandbox: Sandbox) -> None:
    rows = _humaneval_rows()
    # by turns as a model continues the header, and as it answers in a chat
    answers = [
        body if number % 2 else fenced(question.prompt + body)
        for number, (question, body) in enumerate(rows)
    ]
    verdicts = _passed(sandbox, "humaneval", rows, answers)
    assert (len(verdicts), _failing(verdicts)) == (164, [])


def test_humaneval_without_a_body_never_passes(sandbox: Sandbox) -> None:
    rows = _humaneval_rows()[::BROKEN]
    answers = [["    return None\n", "    pass\n"][number % 2] for number in range(len(rows))]
    verdicts = _passed(sandbox, "humaneval", rows, answers)
    assert len(_failing(verdicts)) == len(rows) >= 33


def test_sanitized_mbpp_s_solutions_all_pass(sandbox: Sandbox) -> None:
    rows = _sanitized_rows()
    verdicts = _passed(sandbox, "mbpp", rows, (fenced(code) for _, code in rows))
    assert (len(verdicts), _failing(verdicts)) == (427, [])


def test_mbpp_s_solutions_pass_but_the_one_that_fails_by_itself(sandbox: Sandbox) -> None:
    # 367: its setup builds trees of a Node that only a solution could define, after the setup
    rows = _test_split_rows()
    verdicts = _passed(sandbox, "mbpp", rows, (code for _, code in rows))
    assert (len(verdicts), _failing(verdicts)) == (500, ["367"])
    assert verdicts["367"].outcome == "failed: NameError: name 'Node' is not defined"


def test_mbpp_without_bodies_never_passes(sandbox: Sandbox) -> None:
    from weightlens.evaluate.code.extraction import entry_points

    rows = _test_split_rows()[::BROKEN]
    answers = [
        "\n".join(f"def {name}(*a, **k):\n    pass" for name in entry_points(question))
        for question, _ in rows
    ]
    assert len(_failing(_passed(sandbox, "mbpp", rows, answers))) == len(rows) >= 100
