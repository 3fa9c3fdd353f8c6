"""The program in an answer: invented replies, and what of each is run."""

import json

import pytest

from weightlens.evaluate.code import extraction
from weightlens.evaluate.task import Question

HEADER = '''import math
from typing import List


def helper(x: int) -> int:
    return x + 1


def total(numbers: List[int]) -> int:
    """ Add the numbers up.
    >>> total([1, 2])
    3
    """
'''

HUMANEVAL = Question(
    "T/0",
    HEADER,
    "",
    fields={"prompt": HEADER, "entry_point": "total", "test": "def check(candidate): pass"},
)
MBPP = Question(
    "1",
    "Write a function to add numbers up.",
    "",
    fields={"tests": json.dumps(["assert total([1, 2]) == 3", "assert set([total([])]) == {0}"])},
)

PLAIN = "def total(numbers):\n    return sum(numbers)\n"
HELPED = "def total(numbers):\n    return add_up(numbers)\n"
HELPER = "def add_up(numbers):\n    return sum(numbers)\n"
WRONG = "def total(numbers):\n    return 0\n"


def fenced(*blocks: str, tag: str = "python") -> str:
    return "\n\nNext:\n\n".join(f"```{tag}\n{block}```" for block in blocks)


# what a model wrote, and what total([1, 2]) is when it is run: 3, another value, or the name of
# the error; None where there is no program at all
REPLIES: dict[str, tuple[str, object]] = {
    "a block": (fenced(PLAIN), 3),
    "prose around a block": (f"Here is the function:\n\n{fenced(PLAIN)}\n\nIt uses `sum`.", 3),
    "a block without a language": (fenced(PLAIN, tag=""), 3),
    "a block marked py": (fenced(PLAIN, tag="py"), 3),
    "a block marked Python 3": (fenced(PLAIN, tag="python3"), 3),
    "a block fenced by tildes": (f"~~~python\n{PLAIN}~~~", 3),
    "a block of four backticks around three": (f'````python\n"""\n```\n"""\n{PLAIN}````', 3),
    "a title after the language": (f'```python title="total.py"\n{PLAIN}```', 3),
    "Windows lines": (fenced(PLAIN).replace("\n", "\r\n"), 3),
    "the last of two versions": (fenced(WRONG, PLAIN), 3),
    "an example after it": (fenced(PLAIN, "print(total([1, 2]))\n"), 3),
    "a shell command after it": (fenced(PLAIN) + "\n```bash\npython total.py\n```", 3),
    "output after it": (fenced(PLAIN) + "\nOutput:\n```\n3\n```", 3),
    "output as text before it": ("```text\ntotal = 4\n```\n" + fenced(PLAIN), 3),
    "its helper in a block before": (fenced(HELPER, HELPED), 3),
    "its import in a block before": (
        fenced("import operator\n", "def total(n):\n    return operator.add(*n)\n"),
        3,
    ),
    "a helper of a helper": (
        fenced(
            "import functools\n",
            "def add_up(n):\n    return functools.reduce(int.__add__, n)\n",
            HELPED,
        ),
        3,
    ),
    "a better one explained by a broken one": (fenced(PLAIN, "def total(numbers:\n    ..."), 3),
    "a block in a list": (
        "1. Write it:\n\n   ```python\n   def total(numbers):\n"
        "       return sum(numbers)\n   ```\n",
        3,
    ),
    "a quoted block": (
        "> ```python\n> def total(numbers):\n>     return sum(numbers)\n> ```\n",
        3,
    ),
    "a lambda": (fenced("total = lambda numbers: sum(numbers)\n"), 3),
    "an annotated name": (fenced("total: object = sum\n"), 3),
    "a class beside it": (fenced(f"class Unused:\n    pass\n\n\n{PLAIN}"), 3),
    "an imported function of that name": (fenced("from math import fsum as total\n"), 3),
    "an unclosed block": (f"Sure.\n```python\n{PLAIN}", 3),
    "an unclosed block cut in mid-line": (f"```python\n{PLAIN}\n\ndef other(x):\n    if x >", 3),
    "an unclosed block cut in a string": (f'```python\n{PLAIN}\nprint("the total of', 3),
    "an unclosed block cut within": ("```python\ndef total(numbers):\n    return sum(", None),
    "no fence": (PLAIN, 3),
    "no fence, an import first": (f"import math\n\n{PLAIN}", 3),
    "no fence, a helper first": (f"{HELPER}\n\n{HELPED}", 3),
    "no fence, prose before": (f"Here is the code you asked for:\n\n{PLAIN}", 3),
    "no fence, prose after": (f"{PLAIN}\nThis adds the numbers up.", 3),
    "no fence, one word after": (f"{PLAIN}\nDone", 3),
    "no fence, prose that looks like code": (f"import this is not\n\n{PLAIN}", 3),
    "no fence, between markers": (f"[BEGIN]\n{PLAIN}[DONE]\n\nNext question", 3),
    "a future import": (fenced(f"from __future__ import annotations\n{PLAIN}"), 3),
    "an invalid escape": (fenced(f'"\\d"\n{PLAIN}'), 3),
    "a program that raises": (fenced(f"{PLAIN}\nassert total([]) == 1\n"), "AssertionError"),
    "a main part that is not run": (
        fenced(f"{PLAIN}\nif __name__ == '__main__':\n    input()\n"),
        3,
    ),
    "a refusal": ("I'm sorry, but I can't help with that.", None),
    "nothing": ("", None),
    "an empty block": ("```python\n```", None),
}

# a function's body alone, which only a header makes a program
BODIES: dict[str, tuple[str, object]] = {
    "a body": ("    return sum(numbers)\n", 3),
    "a body without its first indent": ("return sum(numbers)", 3),
    "a longer body without its first indent": (
        "result = 0\n    for n in numbers:\n        result += n\n    return result\n",
        3,
    ),
    "a body without any indent": (
        "result = 0\nfor n in numbers:\n    result += n\nreturn result",
        3,
    ),
    "a body indented by tabs": ("\tresult = sum(numbers)\n\treturn result\n", 3),
    "a body in a block": (fenced("    return sum(numbers)\n"), 3),
    "a body in a block without indent": (fenced("return sum(numbers)\n"), 3),
    "a body that uses the header's helper": ("    return helper(sum(numbers)) - 1\n", 3),
    "a body and the next function": ("    return sum(numbers)\n\n\ndef next(x):\n    return", 3),
    "a body and its tests": ("    return sum(numbers)\n\n\nprint(total(input()))\n", 3),
    "a body and prose": ("    return sum(numbers)\n\nThis adds the numbers up.", 3),
    "a body cut off": ("    if not numbers:\n        return 0\n    return sum(", None),
}

# whole functions that lean on the header
LEANING: dict[str, tuple[str, object]] = {
    "the header's import": (fenced("def total(n: List[int]) -> int:\n    return sum(n)\n"), 3),
    "the header's helper": (fenced("def total(n):\n    return helper(sum(n)) - 1\n"), 3),
    "its own helper instead": (
        fenced("def helper(x):\n    return x\n\ndef total(n):\n    return helper(sum(n))\n"),
        3,
    ),
    "the header again": (fenced(HEADER + "    return sum(numbers)\n"), 3),
    "the header again, no fence": (HEADER + "    return sum(numbers)\n", 3),
}


def _total(program: str | None) -> object:
    if program is None:
        return None
    namespace: dict[str, object] = {"__name__": "program"}
    try:
        exec(compile(program, "<program>", "exec", dont_inherit=True), namespace)
        return namespace["total"]([1, 2])  # type: ignore[operator]
    except Exception as error:
        return type(error).__name__


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("question", [HUMANEVAL, MBPP], ids=["humaneval", "mbpp"])
@pytest.mark.parametrize("reply", REPLIES)
def test_what_is_run_of_a_reply(reply: str, question: Question) -> None:
    answer, value = REPLIES[reply]
    assert _total(extraction.program(answer, question)) == value


@pytest.mark.parametrize("reply", [*BODIES, *LEANING])
def test_what_is_run_after_a_header(reply: str) -> None:
    answer, value = (BODIES | LEANING)[reply]
    if value is None:
        # what parses is kept, and returns nothing for these numbers
        assert _total(extraction.program(answer, HUMANEVAL)) is None
    else:
        assert _total(extraction.program(answer, HUMANEVAL)) == value


def test_a_function_of_another_name_is_run_and_lacks_the_right_one() -> None:
    program = extraction.program(fenced("def sum_up(n):\n    return sum(n)\n"), MBPP)
    assert program == "def sum_up(n):\n    return sum(n)\n"
    assert _total(program) == "KeyError"


def test_a_long_answer_of_anything_is_read_to_its_end() -> None:
    # no line of the first parses with those after it, and each of the second does by itself
    long = "x = (\n" * 3000 + "import math\n" * 3000
    assert extraction.program(long, MBPP) is None
    assert _total(extraction.program(long + "\n" + PLAIN, MBPP)) == 3
    for nested in ("(" * 50000, "-" * 50000 + "1", "x" + ".a" * 50000, "\0", "a" * 99999 + "`"):
        extraction.program(nested, MBPP)
        extraction.program(f"```python\n{nested}", HUMANEVAL)


def test_the_names_that_a_program_must_define() -> None:
    def names(*tests: str, setup: str = "") -> frozenset[str]:
        fields = {"tests": json.dumps(tests), "setup": setup}
        return extraction.entry_points(Question("q", "", "", fields=fields))

    assert names("assert total([1]) == 1") == {"total"}
    assert names("assert set(total([1])) == set([1])") == {"total"}
    assert names("assert math.isclose(area(1), 3.14)", setup="import math") == {"area"}
    assert names("assert longest([Pair(1, 2)], 1) == 1") == {"longest", "Pair"}
    assert names("assert total(helper(1)) == 1", setup="def helper(x): return x") == {"total"}
    # a built-in name where nothing else is called
    assert names("assert sum(10, 15) == 6") == {"sum"}
    assert extraction.entry_points(HUMANEVAL) == {"total"}
