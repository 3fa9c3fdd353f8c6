"""Why the Hub did not hand a model over, in one sentence with a remedy."""

from weightlens.errors import ModelNotFound
from weightlens.hub.reference import repo_and_revision

_LOG_IN = "log in (hf auth login, or HF_TOKEN)"


def refusals() -> tuple[type[BaseException], ...]:
    """What huggingface_hub raises where it is refused, or cannot ask."""
    from huggingface_hub.errors import HfHubHTTPError

    # its bases: the errors of the transport, which is another one in every major version
    return (OSError, ValueError, *HfHubHTTPError.__bases__)


def model_not_found(term: str, error: BaseException) -> ModelNotFound:
    """The error to raise for a Hub id, in the place of one of `refusals`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, revision = repo_and_revision(term)
    known = _has_token()
    if isinstance(error, GatedRepoError):
        remedy = "with the account of your token" if known else f"and {_LOG_IN}: no token is set"
        return ModelNotFound(f"{term}: is gated; accept its terms on its page on the Hub {remedy}")
    if isinstance(error, RepositoryNotFoundError):
        remedy = "closed to your token" if known else f"a private one; no token is set: {_LOG_IN}"
        return ModelNotFound(f"{term}: no such folder, and no such model on the Hub, or {remedy}")
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFound(
            f"{term}: the Hub has {repo}, but no revision {revision or 'main'} of it; give a "
            "branch, tag or commit that is there"
        )
    if getattr(getattr(error, "response", None), "status_code", None) in (401, 403):
        return ModelNotFound(f"{term}: the Hub refuses your token; {_LOG_IN} with another one")
    if constants.HF_HUB_OFFLINE:
        return ModelNotFound(
            f"{term}: no such folder, and not whole in the cache; HF_HUB_OFFLINE forbids asking "
            "the Hub"
        )
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    if isinstance(error, HfHubHTTPError):
        what = f"the Hub did not hand it over ({reason})"
    else:
        what = f"neither did the Hub hand it over ({reason}) nor is it whole in the cache"
    return ModelNotFound(f"{term}: no such folder, and {what}")


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
