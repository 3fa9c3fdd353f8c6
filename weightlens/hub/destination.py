"""Where on the Hub a model is to go, and what is there already."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from weightlens.errors import PublishError
from weightlens.hub.account import Account, account
from weightlens.hub.push_refusal import name_refused, push_refusals, push_refused
from weightlens.hub.ways import Way

MAIN = "main"


@dataclass(frozen=True)
class RemoteFile:
    """A file on the Hub. blob: git's hash of it, or of the pointer in its place; sha256: of a large
    one, which lies elsewhere; xet: whether that is Xet."""

    size: int
    blob: str
    sha256: str | None = None
    xet: bool = False

    @property
    def way(self) -> Way:
        """How it lies there."""
        if self.sha256 is None:
            return "regular"
        return "xet" if self.xet else "lfs"


@dataclass(frozen=True)
class Destination:
    """A repo of the Hub as it is now.

    repo: with its owner. private: None where there is no such repo. commit: that of the revision;
    None where the repo or the revision is still to be made. files: by path, at that commit.
    """

    repo: str
    revision: str = MAIN
    private: bool | None = None
    commit: str | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether there is such a repo."""
        return self.private is not None


@contextmanager
def asking(repo: str) -> Iterator[None]:
    """Turns what the client raises into PublishError, in one sentence with a remedy."""
    try:
        yield
    except push_refusals() as error:
        raise push_refused(repo, error) from error


def check_name(repo: str) -> None:
    """Raises PublishError for what can be no model's name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise name_refused(repo) from error


def look_at(repo: str, revision: str = MAIN) -> Destination:
    """What the Hub has under a name; asks only, and writes nothing.

    repo: OWNER/NAME, or a name alone for a repo of the token's account. Raises PublishError for a
    name that cannot be, without a token that may write, and for the name of a data set or Space.
    """
    check_name(repo)
    with asking(repo):
        who = account()
    _check_scope(repo, who)
    name = repo if "/" in repo else f"{who.name}/{repo}"
    with asking(name):
        return _found(name, revision)


def remote_files(repo: str, revision: str) -> dict[str, RemoteFile]:
    """Every file of a model at a revision, by path. Raises what the client raises."""
    from huggingface_hub import HfApi, RepoFile

    listed = HfApi().list_repo_tree(repo, recursive=True, revision=revision, repo_type="model")
    return {
        entry.path: RemoteFile(
            entry.lfs.size if entry.lfs else entry.size,
            entry.blob_id,
            entry.lfs.sha256 if entry.lfs else None,
            xet=getattr(entry, "xet_hash", None) is not None,
        )
        for entry in listed
        if isinstance(entry, RepoFile)
    }


def _check_scope(repo: str, who: Account) -> None:
    if not who.may_write:
        raise PublishError(
            f"{repo}: your token can read only; make one with write access on the Hub's page of "
            "tokens, and log in with it (hf auth login, or HF_TOKEN)"
        )


def _found(repo: str, revision: str) -> Destination:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi()
    try:
        info = api.model_info(repo)
    except RepositoryNotFoundError:
        _check_other_types(repo)
        return Destination(repo, revision)
    private, commit = bool(info.private), info.sha
    if revision != MAIN:
        try:
            commit = api.model_info(repo, revision=revision).sha
        except RevisionNotFoundError:
            commit = None
    files = {} if commit is None else remote_files(info.id, commit)
    return Destination(info.id, revision, private, commit, files)


def _check_other_types(repo: str) -> None:
    """A name may be a model's and a data set's at once, but whoever gives a data set's name for a
    model that is not there has most likely slipped."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    for kind, words in (("dataset", "a data set"), ("space", "a Space")):
        try:
            HfApi().repo_info(repo, repo_type=kind)
        except RepositoryNotFoundError:
            continue
        raise PublishError(
            f"{repo}: is {words} on the Hub, and no model; give the model another name, or make a "
            "model of this name on the Hub first"
        )
