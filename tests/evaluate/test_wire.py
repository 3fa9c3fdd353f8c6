"""Values between program and checker: they arrive as they left, and nothing else arrives."""

import datetime
import math
import os
import struct
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.evaluate.code.jail import wire
from weightlens.evaluate.code.jail.peer import CALLS, EVERYTHING, Gone, Peer, ProgramError

Pair = namedtuple("Pair", "a b")


class Level(IntEnum):
    LOW = 1


def refused(*_: object) -> bytes:
    raise wire.WireError("no references")


def passed(value: object) -> object:
    return wire.decode(wire.encode(value, refused), refused)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(PLAIN)
def test_a_plain_value_arrives_as_it_left(value: object) -> None:
    assert passed(value) == value
    assert repr(passed(value)) == repr(value)  # tells 1 from True and 0.0 from -0.0


@pytest.mark.parametrize(
    "value",
    [
        {1, 2, "three"},
        frozenset({(1, 2)}),
        bytearray(b"ab"),
        range(3, 30, 4),
        deque([1, 2]),
        Counter("abca"),
        Decimal("1.10"),
        Fraction(3, 7),
        array("d", [1.5, 2.5]),
        datetime.date(2024, 2, 29),
        datetime.timedelta(days=-1, seconds=5),
        10**5000,
        "\ud800",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_the_standard_library_arrives_as_its_own_type(value: object) -> None:
    assert passed(value) == value
    assert type(passed(value)) is type(value)


def test_nan_arrives_as_nan() -> None:
    value = passed([math.nan, math.inf])
    assert isinstance(value, list)
    assert math.isnan(value[0])
    assert value[1] == math.inf


def test_a_subclass_arrives_as_what_it_is_underneath() -> None:
    assert passed(Pair(1, 2)) == (1, 2)
    assert type(passed(Pair(1, 2))) is tuple
    assert type(passed(Level.LOW)) is int
    assert type(passed(OrderedDict(a=1))) is dict
    assert passed(defaultdict(list, a=[1])) == {"a": [1]}


def test_a_value_too_deep_or_too_large_does_not_pass() -> None:
    deep: list[object] = []
    for _ in range(wire.DEEPEST):
        deep = [deep]
    assert wire.encode(deep, refused).endswith(b"l\0\0\0\0")
    with pytest.raises(wire.WireError, match="nested more than 100"):
        passed([deep])
    itself: list[object] = []
    itself.append(itself)
    with pytest.raises(wire.WireError, match="nested"):
        passed(itself)
    with pytest.raises(wire.WireError, match="16 MiB"):
        passed(bytes(wire.LARGEST))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(raw: bytes) -> None:
    try:
        wire.decode(raw, refused)
    except wire.WireError:
        pass


@settings(deadline=None)
@given(PLAIN, st.data())
def test_a_damaged_value_is_a_value_or_refused(value: object, data: st.DataObject) -> None:
    raw = bytearray(wire.encode(value, refused))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    try:
        wire.decode(bytes(raw), refused)
    except wire.WireError:
        pass


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"X",
        b"NN",
        b"l\xff\xff\xff\xff",
        b"i\0\0\0\5a",
        b"e\0\0\0\1l\0\0\0\0",  # a list in a set
        b"k\0\0\0\6os.run" + b"t\0\0\0\0",
        b"k\0\0\0\x0fdecimal.Decimal" + b"t\0\0\0\1s\0\0\0\1x",
        b"k\0\0\0\x0fdecimal.Decimal" + b"N",
        b"m\0\0\0\0",
        b"f\0\0",
    ],
)
def test_what_is_no_value_is_refused(raw: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(raw, refused)


class Told:
    """A peer that reads what it is asked from a list of messages."""

    def __init__(self, *messages: bytes, answers: object = CALLS) -> None:
        incoming, write = os.pipe()
        self.read, outgoing = os.pipe()
        os.write(write, b"".join(struct.pack(">I", len(m)) + m for m in messages))
        os.close(write)
        self.peer = Peer(incoming, outgoing, answers)  # type: ignore[arg-type]

    def said(self) -> bytes:
        return os.read(self.read, 4096)


def test_an_answer_is_what_was_given_or_raised() -> None:
    assert Told(b"=i\0\0\0\1\x2a").peer.ask("call") == 42
    raised = b"!" + wire.encode(("ValueError", "no"), refused)
    with pytest.raises(ValueError, match="no"):
        Told(raised).peer.ask("call")


@pytest.mark.parametrize(
    "error",
    [("SystemExit", "0"), ("KeyboardInterrupt", ""), ("OwnError", "x"), ("print", "x"), (1, 2), 3],
)
def test_no_exception_of_the_program_ends_the_checker(error: object) -> None:
    with pytest.raises(ProgramError):
        Told(b"!" + wire.encode(error, refused)).peer.ask("call")


@pytest.mark.parametrize(
    "message", [b"=", b"?N", b"?t\0\0\0\0", b"=y\0\0\0\7", b"?t\0\0\0\1s\0\0\0\3get"]
)
def test_a_peer_that_talks_nonsense_is_gone(message: bytes) -> None:
    with pytest.raises(Gone):
        Told(message).peer.ask("call")


def test_an_object_stands_for_itself_on_both_sides() -> None:
    told = Told(b"=m\0\0\0\5", b"=m\0\0\0\5", b"=N")
    first, second = told.peer.ask("call"), told.peer.ask("call")
    assert first is second
    assert first != 5
    told.said()
    told.peer.ask("call", first)
    assert told.said().endswith(b"y\0\0\0\5")


def test_a_remote_object_equals_itself_alone() -> None:
    told = Told(b"=m\0\0\0\1", b"=m\0\0\0\2")
    one, two = told.peer.ask("call"), told.peer.ask("call")
    assert one == one and one != two
    assert one not in ([], None, 0, two)
    assert [one] != [0]


def test_the_program_s_side_answers_what_it_is_asked() -> None:
    told = Told(b"?" + wire.encode(("length", [1, 2, 3]), refused), answers=EVERYTHING)
    with pytest.raises(Gone, match="closed"):
        told.peer.serve()
    assert told.said() == b"\0\0\0\7=i\0\0\0\1\3"
