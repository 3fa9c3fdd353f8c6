"""What a user calls a model, taken apart into its terms."""

import os
import re
from collections.abc import Callable, Sequence

from weightlens.errors import ModelNotFound

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$|^[\w.-]+(@[\w./-]+)?$")


def terms(reference: str) -> list[str]:
    """The folders and Hub ids that a reference adds up.

    Raises ModelNotFound where a part of it can be neither.
    """
    pieces = reference.split("+")
    for known in (os.path.exists, _may_be_known):
        found = _reading(pieces, known)
        if found is not None:
            return found
    read = max(
        count for count in range(len(pieces)) if _reading(pieces[:count], _may_be_known) is not None
    )
    named = f"{'+'.join(pieces[read:])!r} in {reference}" if read else reference
    raise ModelNotFound(f"{named}: no such folder, and not a Hub id (owner/name@revision)")


def repo_and_revision(term: str) -> tuple[str, str | None]:
    """A Hub id without its revision, and the revision where it names one."""
    repo, _, revision = term.partition("@")
    return repo, revision or None


def _may_be_known(term: str) -> bool:
    return os.path.exists(term) or bool(_HUB_ID.match(term))


def _reading(pieces: Sequence[str], known: Callable[[str], bool]) -> list[str] | None:
    """Known terms that the pieces between the + signs make up, each as long as can be, since a
    path may have a + in its name; None where there are no such terms."""
    if not pieces:
        return []
    for count in range(len(pieces), 0, -1):
        term = "+".join(pieces[:count])
        if term and known(term):
            rest = _reading(pieces[count:], known)
            if rest is not None:
                return [term, *rest]
    return None
