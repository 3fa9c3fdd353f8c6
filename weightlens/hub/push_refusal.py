"""Why the Hub did not take a model, in one sentence with a remedy."""

import json
import re
from collections.abc import Iterator

from weightlens.errors import PublishError
from weightlens.hub.refusal import refusals

LOG_IN = "log in (hf auth login, or HF_TOKEN) with one that may write"
AGAIN = "run the same command again: what has arrived is not sent twice"

_NO_ROOM = re.compile(
    r"storage limit|storage patterns|storage quota|quota exceeded|exceeded your|upgrade your plan"
    r"|payment required",
    re.IGNORECASE,
)
"""In what the Hub says where an account has no room left: it has no status of its own for that."""


def push_refusals() -> tuple[type[BaseException], ...]:
    """What the client raises where an upload fails.

    Beside `refusals`: RuntimeError, as which it and hf_xet raise what goes wrong with large files.
    """
    return (*refusals(), RuntimeError)


def push_refused(repo: str, error: BaseException) -> PublishError:
    """The error to raise for a repo, in the place of one of `push_refusals`."""
    return PublishError(f"{repo}: {_why(repo, _root(error))}")


def name_refused(repo: str) -> PublishError:
    """For what cannot be the name of a model."""
    kind, _, rest = repo.partition("/")
    if kind in ("datasets", "spaces", "models") and "/" in rest:
        return PublishError(f"{repo}: a model has no {kind}/ in its name; give OWNER/NAME")
    return PublishError(
        f"{repo}: no name that the Hub takes: OWNER/NAME, each of letters, digits, - _ and ., at "
        "most 96, with no - or . at either end, no -- or .. inside, and no .git at the end"
    )


def _why(repo: str, error: BaseException) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    said = _said(error)
    if isinstance(error, LocalTokenNotFoundError):
        return f"no token is set; {LOG_IN}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be read here ({error.strerror}); {AGAIN}"
    if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids asking the Hub"
    status = _status(error)
    if status != 429 and _NO_ROOM.search(str(error)):
        return f"no room is left for it on the Hub ({said}); free some, or ask for more there"
    if isinstance(error, GatedRepoError):
        return "is gated; accept its terms on its page on the Hub with the account of your token"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has no such model that is open to your token; check the name and the token"
    if isinstance(error, RevisionNotFoundError):
        return "the Hub has no such revision; give a branch that is there, or a new one's name"
    if status is not None and not _is_of_the_hub(error):
        return f"the Hub's storage failed ({status}); {AGAIN}"
    if status is not None:
        return _by_status(repo, status, said)
    if isinstance(error, json.JSONDecodeError):
        return f"the Hub gave an answer that is none; {AGAIN}"
    if isinstance(error, ValueError):
        return f"the Hub did not take it: {said}"
    what = "the Hub was lost" if isinstance(error, HfHubHTTPError.__bases__) else "it broke off"
    return f"{what} on the way ({said}); {AGAIN}"


def _by_status(repo: str, status: int, said: str) -> str:
    owner = repo.partition("/")[0]
    if status == 401:
        return f"the Hub refuses your token; {LOG_IN}"
    if status == 403:
        return (
            f"your token may not write there ({said}); make one with write access, of an account "
            f"that may write to {owner}'s repos, and {LOG_IN.partition(' with')[0]}"
        )
    if status in (409, 412):
        return f"it has changed while this ran ({said}); run the same command again"
    if status == 429:
        return f"too many requests ({said}); wait, then {AGAIN}"
    if status >= 500:
        return f"the Hub failed ({said}); {AGAIN}"
    return f"the Hub did not take it ({status}: {said})"


def _root(error: BaseException) -> BaseException:
    """What an error came from: the answer of a server, if there is one, or else the transport's
    complaint; the error itself where there is neither, or where it has better words."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, ValueError):
        return error
    for kinds in ((HfHubHTTPError,), HfHubHTTPError.__bases__):
        for found in _chain(error):
            if isinstance(found, kinds):
                return found
    return error


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_of_the_hub(error: BaseException) -> bool:
    """Whether an answer is the Hub's own, not that of the storage it hands files to."""
    from huggingface_hub import constants

    request = getattr(getattr(error, "response", None), "request", None)
    return str(getattr(request, "url", "")).startswith(constants.ENDPOINT)


def _said(error: BaseException) -> str:
    """What the server said, or else the error, in one line."""
    said = getattr(error, "server_message", None) or str(error).strip() or type(error).__name__
    return " ".join(str(said).split())[:300]
