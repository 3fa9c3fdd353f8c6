"""The program in an answer: what a model meant to be run, cut out of what it wrote around it.

What counts is what parses. In order:

1. fenced blocks, the last of those that define what is asked for; blocks that define names which
   it lacks are put before it;
2. no fence: the run of lines from the first that looks like code to the last that still parses,
   or else the definitions and imports that parse one by one;
3. a bare function body, after the header that the question gave (HumanEval);
4. else any block that parses, though it lacks what is asked for.

A block that was cut off keeps the lines that parse. Programs are kept whole, with the examples
and assertions that the model put after the function, as in the harnesses of both papers (Chen et
al. 2021, arXiv:2107.03374; Austin et al. 2021, arXiv:2108.07732); of a body, what belongs to the
function.
"""

import ast
import builtins
import json
import re
import textwrap
import threading
import warnings

from weightlens.errors import EvaluationError
from weightlens.evaluate.task import Question

# possessive: an endless line must not be read again from each of its letters
_FENCE = re.compile(r"^([ \t>]*+)(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.M)
_LANGUAGES = {"", "python", "py", "python3", "py3", "python2", "ipython", "{python}", "{.python}"}
_CODE_LINE = re.compile(r"^(?:async\s+def|def|class|import|from|@\w|[A-Za-z_]\w*[ \t]*=[^=])", re.M)
_PIECE = re.compile(r"^(?:@.*\n)*[^\s@].*(?:\n(?:[ \t\])}].*)?$)*\n?", re.M)
_CUTS = 50  # a limit on the time that nonsense costs; what models write takes two or three
_LAST = 20  # and on the blocks that are tried as a body
_FILTERS = threading.Lock()
_DEFINING = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)


def program(answer: str, question: Question) -> str | None:
    """The complete program in an answer to a HumanEval or MBPP question; None: there is none.

    Before a HumanEval program stands what its header has before the function: imports, helpers.
    """
    wanted = entry_points(question)
    header = question.fields.get("prompt", "")
    answer = answer.replace("\r\n", "\n")
    blocks = _blocks(answer)
    best = _defining(blocks, wanted) or _unfenced(answer, wanted)
    if best is not None:
        return _after(preamble(question), best)
    bodies = (_completed(header, body, wanted) for body in (*reversed(blocks[-_LAST:]), answer))
    completed = next(filter(None, bodies), None) if header else None
    return completed or next((block for block in reversed(blocks) if block.strip()), None)


def entry_points(question: Question) -> frozenset[str]:
    """The names that a program must define: the entry point, or what the tests call.

    A built-in name counts only where the tests call nothing else (MBPP 126 asks for a `sum`).
    """
    if question.fields.get("entry_point"):
        return frozenset({question.fields["entry_point"]})
    tree = tests_tree(question)
    functions = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    called = {function.id for function in functions if isinstance(function, ast.Name)}
    called -= defined(tree)
    return frozenset({name for name in called if not hasattr(builtins, name)} or called)


def tests(question: Question) -> str:
    """The assertions of an MBPP question, one below the other."""
    try:
        return "\n".join(json.loads(question.fields["tests"]))
    except (KeyError, TypeError, ValueError):
        raise EvaluationError(
            f"question {question.id}: its field 'tests' is no JSON list of assertions"
        ) from None


def tests_tree(question: Question) -> ast.Module:
    """Setup and assertions of an MBPP question, parsed."""
    try:
        return _parse(f"{question.fields.get('setup', '')}\n{tests(question)}")
    except SyntaxError as error:
        raise EvaluationError(f"question {question.id}: its tests are no Python: {error}") from None


def preamble(question: Question) -> str:
    """What a HumanEval header holds before the function that is asked for."""
    name = re.escape(question.fields.get("entry_point", ""))
    before = re.split(
        rf"^(?:async\s+)?def\s+{name}\b", question.fields.get("prompt", ""), flags=re.M
    )
    return before[0] if len(before) > 1 else ""


def defined(tree: ast.AST) -> set[str]:
    """Every name that the code binds anywhere: assigned, imported, defined, or an argument."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def used(tree: ast.AST) -> set[str]:
    """Every name that the code reads and that is no built-in one."""
    loaded = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    }
    return {name for name in loaded if not hasattr(builtins, name)}


def top_level(tree: ast.Module) -> set[str]:
    """The names that the module itself binds."""
    shallow = [node for node in tree.body if isinstance(node, _DEFINING)]
    names = set()
    for node in shallow:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        else:
            names |= defined(node)
    return names


def _parse(text: str) -> ast.Module:
    """The text parsed; SyntaxError where that cannot be done, for whatever reason."""
    try:
        # what the parser warns of, such as an invalid escape, is the program's business; the
        # list of filters is the whole process's, so only one thread at a time may change it
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(f"{type(error).__name__}: {error}") from None


def _parsed(text: str) -> ast.Module | None:
    try:
        return _parse(text)
    except SyntaxError:
        return None


def _parsing_start(text: str) -> str:
    """As many lines from the start as parse, found by cutting where the parser stops."""
    lines = text.splitlines()
    for _ in range(_CUTS):
        try:
            _parse("\n".join(lines))
        except SyntaxError as error:
            lines = lines[: max(0, min((error.lineno or 1) - 1, len(lines) - 1))]
        else:
            return "\n".join(lines) + "\n" if lines else ""
    return ""


def _blocks(answer: str) -> list[str]:
    """The fenced blocks that may be Python; the last one may lack its closing fence."""
    found, opened = [], None
    for fence in _FENCE.finditer(answer):
        if opened is None:
            opened = fence
        elif fence[2].startswith(opened[2]) and not fence[3]:
            found.append((opened, answer[opened.end() + 1 : fence.start()]))
            opened = None
    if opened is not None:
        found.append((opened, _parsing_start(answer[opened.end() + 1 :])))
    return [
        re.sub(rf"^{re.escape(opened[1])}", "", text, flags=re.M)
        for opened, text in found
        if opened[3].lower() in _LANGUAGES
    ]


def _defining(blocks: list[str], wanted: frozenset[str]) -> str | None:
    """The last block that defines what is wanted, after those that it needs."""
    trees = [_parsed(block) for block in blocks]
    for last in reversed(range(len(blocks))):
        tree = trees[last]
        if tree is None or not (wanted & top_level(tree)):
            continue
        chosen, lacking = [blocks[last]], (used(tree) | wanted) - defined(tree)
        for block, other in zip(reversed(blocks[:last]), reversed(trees[:last]), strict=True):
            if other is not None and lacking & top_level(other):
                chosen.insert(0, block)
                lacking = (lacking | used(other)) - defined(other)
        return "\n".join(chosen)
    return None


def _unfenced(answer: str, wanted: frozenset[str]) -> str | None:
    """The code in plain text: from the first line that looks like it, or piece by piece."""
    text = answer.partition("[DONE]")[0]
    first = _CODE_LINE.search(text)
    if first is None:
        return None
    run = _parsing_start(text[first.start() :])
    return _ending_in_definition(run, wanted) or _ending_in_definition(_pieced(text), wanted)


def _ending_in_definition(text: str, wanted: frozenset[str]) -> str | None:
    """The text up to the last definition, for a closing "Done" parses, too."""
    tree = _parse(text)
    if not wanted & top_level(tree):
        return None
    last = max(node.end_lineno or 0 for node in tree.body if isinstance(node, _DEFINING))
    return "\n".join(text.splitlines()[:last]) + "\n"


def _pieced(text: str) -> str:
    """Every definition and import that parses by itself, whatever stands between them."""
    pieces = _PIECE.findall(text)
    trees = map(_parsed, pieces)
    return "".join(
        piece
        for piece, tree in zip(pieces, trees, strict=True)
        if tree is not None and all(isinstance(node, _DEFINING) for node in tree.body)
    )


def _completed(header: str, body: str, wanted: frozenset[str]) -> str | None:
    """The header with the body under it, indented as far as it needs; None: it is no body."""
    body = body.strip("\n")
    variants = (body, f"    {body.lstrip()}", textwrap.indent(textwrap.dedent(body), "    "))
    length = len(header.splitlines())
    best = max((_parsing_start(f"{header.rstrip()}\n{v}\n") for v in variants), key=len)
    for node in _parse(best).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in wanted:
            if (node.end_lineno or 0) > len(header.rstrip().splitlines()) and length:
                return "\n".join(best.splitlines()[: node.end_lineno]) + "\n"
    return None


def _after(before: str, text: str) -> str:
    """The text after what it builds on, unless it has to stand first."""
    if not before.strip() or re.search(r"^from __future__", text, re.M):
        return text
    return f"{before.rstrip()}\n\n{text}"
