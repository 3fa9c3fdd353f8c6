"""HumanEval and MBPP: the program in an answer, run against the question's tests.

HumanEval (Chen et al. 2021, arXiv:2107.03374): fields "prompt" (the function's header), "test"
(defines `check`), "entry_point". MBPP (Austin et al. 2021, arXiv:2108.07732): fields "tests" (a
JSON list of assertions) and "setup" (statements before them).
"""

import ast
import sys
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.code import extraction
from weightlens.evaluate.code.limits import Checks, Finished
from weightlens.evaluate.code.sandbox import Sandbox
from weightlens.evaluate.task import Question, Scorer, Verdict

Kind = Literal["humaneval", "mbpp"]

_FIELDS: dict[Kind, tuple[str, ...]] = {
    "humaneval": ("prompt", "test", "entry_point"),
    "mbpp": ("tests",),
}


def code_scorer(sandbox: Sandbox, kind: Kind) -> Scorer:
    """A scorer that runs the program in the answer: 1 where it passes every test, else 0.

    The scorer raises EvaluationError where a question lacks what its kind needs.
    """
    checks = {"humaneval": _humaneval, "mbpp": _mbpp}[kind]

    def score(question: Question, answer: str) -> Verdict:
        lacking = [name for name in _FIELDS[kind] if not question.fields.get(name)]
        if lacking:
            raise EvaluationError(f"question {question.id}: no field {', '.join(lacking)}")
        program = extraction.program(answer, question)
        if program is None:
            return Verdict(0.0, None, "no program")
        return _verdict(program, sandbox.run(program, checks(question, program)))

    return score


def _verdict(program: str, finished: Finished) -> Verdict:
    outcome = ": ".join(filter(None, (finished.outcome, finished.detail)))
    return Verdict(float(finished.outcome == "passed"), program, outcome)


def _humaneval(question: Question, program: str) -> Checks:
    # the tests of 32, 38 and 50 use helpers from the header: the header's own, not the program's
    entry = question.fields["entry_point"]
    tests = f"{question.fields['test']}\n\ncheck({entry})\n"
    return Checks(tests, (entry,), header=extraction.preamble(question))


def _mbpp(question: Question, program: str) -> Checks:
    tree = extraction.tests_tree(question)
    free = extraction.used(tree) - extraction.defined(tree)
    modules = sorted(free & sys.stdlib_module_names & _read_as_modules(tree))
    # modules come from the checker's side, whatever the program made of their names
    imports = "".join(f"import {name}\n" for name in modules)
    setup = imports + question.fields.get("setup", "")
    names = (free - set(modules)) | extraction.entry_points(question)
    return Checks(extraction.tests(question), tuple(sorted(names)), setup=setup)


def _read_as_modules(tree: ast.AST) -> set[str]:
    attributes = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {value.id for value in attributes if isinstance(value, ast.Name)}
