"""Two processes that call each other's objects: the checker and the program it judges.

A message is its length (4 bytes), a kind (1 byte) and a value (`wire`). One side asks, the other
gives or raises; while it waits, a side answers what it is asked itself, so that a test may hand a
function over. What a side answers is fixed when the peer is made: the checker lets the program
call the functions that a test passed to it, and nothing else.
"""

from __future__ import annotations

import builtins
import operator
import os
import sys

from weightlens.evaluate.code.jail import wire

if not sys.flags.no_site:  # annotations only: on the far side these cost more than all the rest
    from collections.abc import Callable, Mapping
    from typing import Any, Never

    Operations = Mapping[str, Callable[..., object]]

ASK, GIVE, RAISE = b"?", b"=", b"!"

CALLS: Operations = {"call": lambda target, arguments, named: target(*arguments, **named)}
"""What the checker answers."""

EVERYTHING: Operations = {
    **CALLS,
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "contains": operator.contains,
    "length": len,
    "iterate": iter,
    "next": next,
    "truth": bool,
    "text": str,
    "form": repr,
}
"""What the program's side answers."""


class Gone(Exception):
    """The other side is no longer there, or no longer talks sense."""


class ProgramError(Exception):
    """An exception of the program that is no built-in one, or none that a test may catch."""


class Remote:
    """An object of the other side.

    It can be called, read and walked through, and equals itself alone: a comparison is never
    left to the side that is being judged.
    """

    __slots__ = ("_number", "_peer")
    _number: int
    _peer: Peer

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: object, **named: object) -> object:
        return self._peer.ask("call", self, arguments, named)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._peer.ask("set", self, name, value)

    def __getitem__(self, key: object) -> object:
        return self._peer.ask("item", self, key)

    def __setitem__(self, key: object, value: object) -> None:
        self._peer.ask("put", self, key, value)

    def __contains__(self, value: object) -> bool:
        return bool(self._peer.ask("contains", self, value))

    def __iter__(self) -> Any:
        return self._peer.ask("iterate", self)

    def __next__(self) -> object:
        return self._peer.ask("next", self)

    def __len__(self) -> Any:
        return self._peer.ask("length", self)

    def __bool__(self) -> Any:
        return self._peer.ask("truth", self)

    def __str__(self) -> Any:
        return self._peer.ask("text", self)

    def __repr__(self) -> Any:
        return self._peer.ask("form", self)


class Peer:
    """One side of the conversation.

    incoming, outgoing: file descriptors. answers: what the other side may ask for, by name.
    """

    def __init__(self, incoming: int, outgoing: int, answers: Operations) -> None:
        self.incoming, self.outgoing, self.answers = incoming, outgoing, answers
        self.held: list[object] = []
        self.numbers: dict[int, int] = {}
        self.remotes: dict[int, Remote] = {}

    def ask(self, operation: str, *arguments: object) -> Any:
        """What the other side answers; raises what it raised. Gone: it is not there any more."""
        self.send(ASK, (operation, *arguments))
        while True:
            kind, value = self.receive()
            if kind == GIVE:
                return value
            if kind == RAISE:
                _raise_again(value)
            self.answer(value)

    def serve(self) -> Never:
        """Answers for as long as it is asked. Gone: at the end."""
        while True:
            kind, value = self.receive()
            if kind != ASK:
                raise Gone("an answer that nobody asked for")
            self.answer(value)

    def answer(self, question: object) -> None:
        """Carries out what the other side asked for and sends what came of it."""
        try:
            if not (isinstance(question, tuple) and question and question[0] in self.answers):
                raise Gone("a question of no known kind")
            self.send(GIVE, self.answers[question[0]](*question[1:]))
        except Gone:
            raise
        except BaseException as error:
            self.send(RAISE, named(error))

    def send(self, kind: bytes, value: object) -> None:
        """Writes one message. WireError: a value that cannot pass; nothing was written then."""
        body = kind + wire.encode(value, self._refer)
        try:
            write_all(self.outgoing, len(body).to_bytes(4, "big") + body)
        except OSError:
            raise Gone("it reads no more") from None

    def receive(self) -> tuple[bytes, object]:
        """One message as kind and value."""
        try:
            body = read_message(self.incoming, wire.LARGEST + 1)
            return body[:1], wire.decode(body[1:], self._resolve)
        except wire.WireError as error:
            raise Gone(str(error)) from None

    def _refer(self, value: object) -> bytes:
        if isinstance(value, Remote) and object.__getattribute__(value, "_peer") is self:
            return wire.reference(b"y", object.__getattribute__(value, "_number"))
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.held)
            self.held.append(value)
        return wire.reference(b"m", self.numbers[id(value)])

    def _resolve(self, owner: bytes, number: int) -> object:
        if owner == b"y":
            return self.held[number]
        return self.remotes.setdefault(number, Remote(self, number))


def named(error: BaseException) -> tuple[str, str]:
    """The exception as its type's name and its message, whatever its own methods do."""
    try:
        return type(error).__name__, str(error)[:1000]
    except BaseException:
        return "Exception", "an exception that cannot be printed"


def _raise_again(value: object) -> Never:
    name, text = value if isinstance(value, tuple) and len(value) == 2 else ("", "")
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    # SystemExit and its like are no Exception: they must not end the checker
    if isinstance(kind, type) and issubclass(kind, Exception) and isinstance(text, str):
        try:
            error = kind(text)
        except TypeError:
            raise ProgramError(f"{name}: {text}") from None
        raise error
    raise ProgramError(f"{name}: {text}")


def write_all(descriptor: int, raw: bytes) -> None:
    """Writes every byte."""
    view = memoryview(raw)
    while view:
        view = view[os.write(descriptor, view) :]


def read_exactly(descriptor: int, length: int) -> bytes:
    """That many bytes. WireError: the other side closed before."""
    chunks = []
    while length:
        chunk = os.read(descriptor, min(length, 1 << 20))
        if not chunk:
            raise wire.WireError("closed")
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def read_message(descriptor: int, largest: int = wire.LARGEST) -> bytes:
    """A length in 4 bytes, then as many bytes. WireError: closed before, or more than `largest`."""
    length = int.from_bytes(read_exactly(descriptor, 4), "big")
    if not 0 < length <= largest:
        raise wire.WireError(f"a message of {length} bytes")
    return read_exactly(descriptor, length)
