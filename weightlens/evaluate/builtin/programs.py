"""Multi-step reasoning: chains of sums, and small programs on lists of digits and on strings.

Every question carries its derivation, one step after the other, so that a model can be taught to
think before it answers:

    16-7+5      16-7=9 9+5=14                 14
    3987: sort, rot      sort 3789, rot 7893  7893
    cab: next, dup       next dbc, dup dbcdbc dbcdbc
"""

import random
import zlib
from collections.abc import Callable, Iterator

from weightlens.evaluate.task import Question, Sampling, Split, Task, Verdict

LIST_OPERATIONS: dict[str, Callable[[str], str]] = {
    "sort": lambda s: "".join(sorted(s)),
    "rev": lambda s: s[::-1],
    "inc": lambda s: "".join(str((int(c) + 1) % 10) for c in s),
    "tail": lambda s: s[1:],
    "rot": lambda s: s[1:] + s[:1],
}

STRING_OPERATIONS: dict[str, Callable[[str], str]] = {
    "rev": lambda s: s[::-1],
    "rot": lambda s: s[1:] + s[:1],
    "tail": lambda s: s[1:],
    "next": lambda s: "".join(chr((ord(c) - ord("a") + 1) % 26 + ord("a")) for c in s),
    "dup": lambda s: s + s,
}

_LONGEST_STRING = 8


def split_of(prompt: str) -> Split:
    """The split that a reasoning question belongs to: a tenth validation, a tenth test."""
    residue = zlib.crc32(prompt.encode()) % 10
    return "validation" if residue == 0 else "test" if residue == 1 else "train"


def arithmetic(rng: random.Random) -> Question:
    """A chain of 3 or 4 sums and differences of one digit that stays between 0 and 99."""
    value = rng.randint(1, 30)
    prompt, steps = str(value), []
    for _ in range(rng.randint(3, 4)):
        choices = [d for d in (*range(-9, 0), *range(1, 10)) if 0 <= value + d <= 99]
        change = rng.choice(choices)
        prompt += f"{change:+d}"
        steps.append(f"{value}{change:+d}={value + change}")
        value += change
    return Question(f"arithmetic/{prompt}", prompt, str(value), " ".join(steps))


def lists(rng: random.Random) -> Question:
    """2 or 3 operations on a list of four digits."""
    start = "".join(rng.choice("0123456789") for _ in range(4))
    return _program("lists", start, LIST_OPERATIONS, rng)


def strings(rng: random.Random) -> Question:
    """2 or 3 operations on a string of 3 or 4 letters."""
    start = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 4)))
    return _program("strings", start, STRING_OPERATIONS, rng)


def _program(
    kind: str, start: str, operations: dict[str, Callable[[str], str]], rng: random.Random
) -> Question:
    value, names, steps = start, [], []
    for _ in range(rng.randint(2, 3)):
        possible = [n for n in operations if 1 <= len(operations[n](value)) <= _LONGEST_STRING]
        name = rng.choice(possible)
        value = operations[name](value)
        names.append(name)
        steps.append(f"{name} {value}")
    prompt = f"{start}: {', '.join(names)}"
    return Question(f"{kind}/{prompt}", prompt, value, ", ".join(steps))


KINDS: tuple[Callable[[random.Random], Question], ...] = (arithmetic, lists, strings)


def stream(split: Split, seed: int) -> Iterator[Question]:
    """Distinct questions of one split, the three kinds in turn, without end."""
    rng = random.Random(f"weightlens reasoning {split} {seed}")
    seen: set[str] = set()
    while True:
        for kind in KINDS:
            question = kind(rng)
            while question.id in seen or split_of(question.prompt) != split:
                question = kind(rng)
            seen.add(question.id)
            yield question


def _questions(split: Split, limit: int | None) -> list[Question]:
    source = stream(split, seed=0)
    return [next(source) for _ in range(600 if limit is None else limit)]


def _score(question: Question, answer: str) -> Verdict:
    found = answer.strip()
    return Verdict(float(found == question.reference), found or None)


REASONING = Task(
    name="reasoning",
    version=1,
    metric="accuracy",
    questions=_questions,
    score=_score,
    sampling=Sampling(max_new_tokens=80),
)
