"""Plain values as bytes: what may pass between the program and its checker.

A value is one tag byte and what the tag calls for. Numbers, text, bytes, the built-in containers
and a few types of the standard library arrive as equal values of exactly that type, so that the
checker compares objects of its own making. Everything else (functions, classes, instances) stays
where it is and only a number that stands for it passes. Nothing is unpickled or evaluated.
"""

from __future__ import annotations

import struct
import sys

if not sys.flags.no_site:  # annotations only: on the far side these cost more than all the rest
    from collections.abc import Callable, Iterable
    from typing import Any

LARGEST = 16 << 20
"""Bytes of the largest message; a program that answers more than this has failed."""

DEEPEST = 100
"""Containers within containers, at most."""

_KNOWN: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "collections.deque": lambda v: (list(v),),
    "collections.Counter": lambda v: (dict(v),),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "array.array": lambda v: (v.typecode, v.tolist()),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
}
"""Types of the standard library that are made again from the arguments given here."""

_CONTAINERS: tuple[tuple[bytes, type], ...] = (
    (b"d", dict),
    (b"l", list),
    (b"t", tuple),
    (b"e", set),
    (b"z", frozenset),
)


class WireError(Exception):
    """Bytes that are no value, or a value too large or too deep to pass."""


def encode(value: object, refer: Callable[[object], bytes]) -> bytes:
    """The value as bytes; `refer` gives the bytes of an object that has to stay.

    WireError: nested deeper than DEEPEST, or more than LARGEST bytes.
    """
    writer = _Writer(refer)
    writer.put(value, 0)
    return b"".join(writer.parts)


class _Writer:
    def __init__(self, refer: Callable[[object], bytes]) -> None:
        self.parts: list[bytes] = []
        self.refer = refer
        self.size = 0

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        # counted on the way: shared sublists can unfold to more than any memory holds
        self.size += len(part)
        if self.size > LARGEST:
            raise WireError(f"a value of more than {LARGEST >> 20} MiB")

    def put(self, value: object, depth: int) -> None:
        if value is None or value is True or value is False:
            self.add(b"N" if value is None else b"T" if value else b"F")
        elif isinstance(value, (int, float, complex, str, bytes, bytearray)):
            self.add(_scalar(value))
        elif depth > DEEPEST:
            raise WireError(f"a value nested more than {DEEPEST} deep")
        else:
            self.put_container(value, depth)

    def put_container(self, value: object, depth: int) -> None:
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _KNOWN:
            self.add(b"k" + _sized(name.encode()))
            self.put(_KNOWN[name](value), depth + 1)
            return
        for tag, base in _CONTAINERS:
            if isinstance(value, base):
                # the base's own methods: a subclass passes as what it is underneath
                self.add(tag + _count(base.__len__(value)))  # type: ignore[attr-defined]
                items: Iterable[object] = base.__iter__(value)  # type: ignore[attr-defined]
                for item in items:
                    self.put(item, depth + 1)
                    if base is dict:
                        self.put(dict.__getitem__(value, item), depth + 1)  # type: ignore[index]
                return
        self.add(self.refer(value))


def _scalar(value: int | float | complex | str | bytes | bytearray) -> bytes:
    if isinstance(value, int):
        length = int.bit_length(value) // 8 + 1
        return b"i" + _sized(int.to_bytes(value, length, "big", signed=True))
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value)
    if isinstance(value, complex):
        return b"c" + struct.pack(">dd", value.real, value.imag)
    if isinstance(value, str):
        return b"s" + _sized(str.encode(value, "utf-8", "surrogatepass"))
    return (b"a" if isinstance(value, bytearray) else b"b") + _sized(bytes(value))


def _count(number: int) -> bytes:
    return number.to_bytes(4, "big")


def _sized(raw: bytes) -> bytes:
    return _count(len(raw)) + raw


def reference(owner: bytes, number: int) -> bytes:
    """The bytes that stand for an object: `owner` is b"m" (the sender's) or b"y" (the reader's)."""
    return owner + _count(number)


def decode(raw: bytes, resolve: Callable[[bytes, int], object]) -> object:
    """The value that the bytes hold; `resolve` gives the object behind a reference.

    WireError: anything but exactly one well-formed value.
    """
    reader = _Reader(raw, resolve)
    try:
        value = reader.take(0)
    except (
        struct.error,
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise WireError(f"bytes that are no value ({error})") from None
    if reader.at != len(raw):
        raise WireError("bytes after the value")
    return value


class _Reader:
    def __init__(self, raw: bytes, resolve: Callable[[bytes, int], object]) -> None:
        self.raw, self.at, self.resolve = raw, 0, resolve

    def bite(self, length: int) -> bytes:
        if self.at + length > len(self.raw):
            raise WireError("bytes that end early")
        self.at += length
        return self.raw[self.at - length : self.at]

    def number(self) -> int:
        return int.from_bytes(self.bite(4), "big")

    def take(self, depth: int) -> object:
        if depth > DEEPEST + 1:
            raise WireError("bytes nested too deep")
        tag = self.bite(1)
        if tag in b"NTF":
            return {b"N": None, b"T": True, b"F": False}[tag]
        if tag in b"ifcsab":
            return self.scalar(tag)
        if tag in b"my":
            return self.resolve(tag, self.number())
        if tag == b"k":
            return self.known(depth)
        count = self.number()
        if tag == b"d":
            return {self.take(depth + 1): self.take(depth + 1) for _ in range(count)}
        for container, base in _CONTAINERS:
            if tag == container:
                return base(self.take(depth + 1) for _ in range(count))
        raise WireError(f"unknown tag {tag!r}")

    def scalar(self, tag: bytes) -> object:
        if tag == b"f":
            return struct.unpack(">d", self.bite(8))[0]
        if tag == b"c":
            return complex(*struct.unpack(">dd", self.bite(16)))
        raw = self.bite(self.number())
        if tag == b"i":
            return int.from_bytes(raw, "big", signed=True)
        if tag == b"s":
            return raw.decode("utf-8", "surrogatepass")
        return bytearray(raw) if tag == b"a" else raw

    def known(self, depth: int) -> object:
        name = self.bite(self.number()).decode()
        if name not in _KNOWN:
            raise WireError(f"unknown type {name!r}")
        arguments = self.take(depth + 1)
        if not isinstance(arguments, tuple):
            raise WireError(f"{name} without its arguments")
        module, _, kind = name.rpartition(".")
        return getattr(__import__(module), kind)(*arguments)
