"""Files to a repo of the Hub as one commit, through huggingface_hub: Xet, or LFS without it.

Everything large is sent first, several files at a time, and the commit that names it comes last: a
repo has all of a model or nothing new. What breaks off is taken up by the next run, since neither
Xet nor LFS takes twice what it has.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightlens.errors import CheckFailed, PublishError
from weightlens.hub.destination import MAIN, Destination, RemoteFile, asking, remote_files

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd


@dataclass(frozen=True)
class Wish:
    """How files are to be sent.

    private: the visibility of a repo that is made; create_pr: as a pull request to main; removed:
    paths that go in the same commit.
    """

    message: str
    private: bool = False
    create_pr: bool = False
    removed: Sequence[str] = ()


@dataclass(frozen=True)
class Sent:
    """A commit, its address, that of the pull request if one was opened, and the files at it.

    private: whether the repo is; its owner may have it so by default. warnings: what the Hub says
    of the model card.
    """

    private: bool
    commit: str
    url: str
    pull_request: str | None
    files: Mapping[str, RemoteFile]
    warnings: tuple[str, ...]


def send(to: Destination, files: Mapping[str, Path], wish: Wish) -> Sent:
    """Makes the repo and the branch where they are not there, sends, and compares.

    files: by path in the repo. Raises PublishError where the Hub does not take them, and
    CheckFailed where sizes or hashes there are not those of the files.
    """
    from huggingface_hub import CommitOperationAdd

    with asking(to.repo):
        private = _make_room(to, wish)
        adds = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            info = _commit(to, adds, wish)
    try:
        with asking(to.repo):
            there = remote_files(to.repo, info.pr_revision or info.oid)
    except PublishError as error:
        done = f"sent as {info.commit_url}, but it could not be compared"
        raise PublishError(f"{to.repo}: {done}; {str(error).partition(': ')[2]}") from error
    wrong = [line for add in adds if (line := _difference(add, there.get(add.path_in_repo)))]
    if wrong:
        raise CheckFailed(f"{info.commit_url}: is not what was sent: " + "; ".join(wrong))
    texts = tuple(" ".join(str(w.message).split()) for w in said if w.category is UserWarning)
    return Sent(private, info.oid, info.commit_url, info.pr_url, there, texts)


def _make_room(to: Destination, wish: Wish) -> bool:
    """Makes the repo and the branch unless they are there; returns whether the repo is private."""
    from huggingface_hub import HfApi

    api = HfApi()
    private = bool(to.private)
    if not to.exists:
        _create(to.repo, wish)
        private = bool(api.model_info(to.repo).private)
        if wish.private and not private:
            raise _is_public(to.repo)
    if to.commit is None and to.revision != MAIN:
        api.create_branch(to.repo, branch=to.revision, exist_ok=True)
    return private


def _create(repo: str, wish: Wish) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().create_repo(repo, private=wish.private or None, repo_type="model")
    except HfHubHTTPError as error:
        # made since it was looked at: by a request whose answer was lost, or by another
        if error.response.status_code != 409:
            raise


def _commit(to: Destination, adds: "list[CommitOperationAdd]", wish: Wish) -> "CommitInfo":
    from huggingface_hub import CommitOperationDelete, HfApi

    return HfApi().create_commit(
        to.repo,
        [*adds, *(CommitOperationDelete(path) for path in wish.removed)],
        commit_message=wish.message,
        revision=to.revision,
        create_pr=wish.create_pr,
        # what was looked at is what the commit goes on top of, or there is none
        parent_commit=None if wish.create_pr else to.commit,
    )


def check_visibility(to: Destination, *, private: bool) -> None:
    """Raises PublishError where a model that is to be private would go to a public repo."""
    if private and to.exists and not to.private:
        raise _is_public(to.repo)


def _is_public(repo: str) -> PublishError:
    return PublishError(
        f"{repo}: is there already, and public; --private holds for a new repo only: set this one "
        "private on the Hub first, or give another name"
    )


def _difference(add: "CommitOperationAdd", there: RemoteFile | None) -> str | None:
    """What is wrong with a file on the Hub; None where it is the one that was sent."""
    path = add.path_in_repo
    if there is None:
        return f"{path} is missing (a .gitignore there may keep it out)"
    size = add.upload_info.size
    if there.size != size:
        return f"{path} has {there.size} bytes there and {size} here"
    if not is_same(there, Path(str(add.path_or_fileobj)), sha256=add.upload_info.sha256.hex()):
        return f"{path} has another hash there"
    return None


def is_same(there: RemoteFile, file: Path, *, sha256: str | None = None) -> bool:
    """Whether a file of the Hub has the bytes of one here, by its hash there. sha256: of the file
    here, where it is known."""
    from huggingface_hub.utils import sha

    if there.size != file.stat().st_size:
        return False
    if there.sha256 is None:
        return there.blob == sha.git_hash(file.read_bytes())
    if sha256 is None:
        with file.open("rb") as stream:
            sha256 = sha.sha_fileobj(stream).hex()
    return there.sha256 == sha256
