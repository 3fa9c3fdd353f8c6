"""Tokens and keys that slipped into a file: found before the file is sent, and never shown."""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from weightlens.checkpoint.header import MAX_HEADER_BYTES
from weightlens.errors import PublishError

_SHAPES: dict[str, str] = {
    "a token of the Hugging Face Hub": r"(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "a token of GitHub": r"gh[opsur]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}",
    "a token of GitLab": r"glpat-[A-Za-z0-9_-]{20,}",
    "a key of AWS": r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "a key of Google": r"AIza[A-Za-z0-9_-]{35}",
    "a token of Slack": r"xox[abeoprs]-[A-Za-z0-9-]{20,}",
    "a token of npm": r"npm_[A-Za-z0-9]{36}",
    "a token of PyPI": r"pypi-AgEI[A-Za-z0-9_-]{40,}",
    # at least one digit: words joined by - or _ have none
    "an API key (sk-…)": r"sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{24,}",
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
}
"""What issuers say their tokens look like. A shape begins where no letter or digit comes before."""

_PATTERN = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    + b"|".join(b"(%s)" % shape.encode() for shape in _SHAPES.values())
    + b")"
)
_WEIGHTS = ".safetensors"


def check_credentials(files: Mapping[str, Path], own: str | None = None) -> None:
    """Raises PublishError where a file holds what looks like a secret, or the token in use.

    Of weights, the header is read. files: by path in the repo; own: the token.
    """
    found = [
        f"{file}:{line}: {what}"
        for path, file in files.items()
        for line, what in _found(_text(file, path), own)
    ]
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise PublishError(
            f"{'; '.join(found[:3])}{more}: nothing was sent; take it out, and revoke it if "
            "others could have seen it"
        )


def _found(text: bytes, own: str | None) -> Iterator[tuple[int, str]]:
    for match in _PATTERN.finditer(text):
        assert match.lastindex is not None, "one of the shapes matched"
        yield _line(text, match.start()), list(_SHAPES)[match.lastindex - 1]
    if own and (at := text.find(own.encode())) >= 0 and not _PATTERN.match(text, at):
        yield _line(text, at), "the token that you are logged in with"


def _line(text: bytes, at: int) -> int:
    return text.count(b"\n", 0, at) + 1


def _text(file: Path, path: str) -> bytes:
    if not path.endswith(_WEIGHTS):
        return file.read_bytes()
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return stream.read(min(length, MAX_HEADER_BYTES))
