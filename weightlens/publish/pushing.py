"""A folder to the Hub: checked here, sent whole, and compared with what arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from weightlens.errors import PublishError
from weightlens.hub.destination import MAIN, Destination, RemoteFile, look_at
from weightlens.hub.sending import Wish, check_visibility, is_same, send
from weightlens.hub.ways import expected_way
from weightlens.publish.contents import Contents, contents
from weightlens.publish.credentials import check_credentials
from weightlens.publish.licence import check_licence
from weightlens.publish.record import LeftOut, PushReport, SentFile
from weightlens.publish.sources import warning_of
from weightlens.publish.whole import Progress, Whole, check_whole, verify
from weightlens.report.card_check import check_card
from weightlens.version import VERSION

_WEIGHTS = (
    "model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin",
    "pytorch_model.bin.index.json", "adapter_model.*", "adapter_config.json",
)  # fmt: skip
"""What loaders take for weights by its name; beside others, they may take the wrong ones."""


@dataclass(frozen=True)
class _Prepared:
    whole: Whole
    held: Contents
    to: Destination
    stale: tuple[str, ...]
    verified: bool
    wish: Wish


def push(
    folder: Path | str,
    repo: str,
    *,
    revision: str = MAIN,
    private: bool = False,
    create_pr: bool = False,
    prune: bool = False,
    message: str | None = None,
    progress: Progress = lambda done, total, name: None,
) -> PushReport:
    """Publishes a merge, an adapter or another whole model folder as one commit.

    folder: what `merge` or `extract` wrote. repo: OWNER/NAME, or NAME for one's own; made where it
    is not there. revision: a branch, made where it is not there. private: for a repo that is made;
    refused for one that is public. create_pr: open a pull request to main instead. prune: delete
    weights in the repo that the folder does not have. progress: of checking the folder; the upload
    shows the client's own bars.

    Raises PublishError for a folder that should not go out and where the Hub does not take it;
    then the same call goes on where this one ended. Raises CheckFailed where what arrived is not
    what was sent.
    """
    ready = _prepare(
        Path(folder), repo, revision, private=private, create_pr=create_pr, prune=prune,
        message=message, progress=progress,
    )  # fmt: skip
    sent = send(ready.to, ready.held.sent, ready.wish)
    files = [
        _sent_file(path, file, ready.to.files.get(path), after=sent.files[path])
        for path, file in ready.held.sent.items()
    ]
    report = _report(Path(folder), ready, files, planned=False)
    return report.model_copy(
        update={
            "private": sent.private,
            "commit": sent.commit,
            "url": sent.url,
            "pull_request": sent.pull_request,
            "warnings": [*report.warnings, *sent.warnings],
        }
    )


def plan_push(
    folder: Path | str,
    repo: str,
    *,
    revision: str = MAIN,
    private: bool = False,
    create_pr: bool = False,
    prune: bool = False,
    message: str | None = None,
    progress: Progress = lambda done, total, name: None,
) -> PushReport:
    """What `push` would send, and where to; asks the Hub, and writes nothing. Raises like it."""
    ready = _prepare(
        Path(folder), repo, revision, private=private, create_pr=create_pr, prune=prune,
        message=message, progress=progress,
    )  # fmt: skip
    files = [
        _sent_file(path, file, ready.to.files.get(path)) for path, file in ready.held.sent.items()
    ]
    return _report(Path(folder), ready, files, planned=True)


def check_destination(repo: str, *, private: bool = False) -> Destination:
    """Whether a model could be pushed there later; raises PublishError where it could not."""
    to = look_at(repo)
    check_visibility(to, private=private)
    return to


def _prepare(
    folder: Path,
    repo: str,
    revision: str,
    *,
    private: bool,
    create_pr: bool,
    prune: bool,
    message: str | None,
    progress: Progress,
) -> _Prepared:
    """All checks: what is cheap and here first, then the Hub, then every byte of the weights."""
    from huggingface_hub import get_token

    if create_pr and revision != MAIN:
        raise PublishError("a pull request goes to main: leave out the revision, or the request")
    whole = check_whole(folder)
    held = contents(folder, whole.weights)
    check_licence(folder)
    check_credentials(held.sent, get_token())
    to = look_at(repo, revision)
    check_visibility(to, private=private)
    if create_pr and not to.exists:
        raise PublishError(f"{to.repo}: is not on the Hub yet, so nobody can open a request there")
    stale = _stale(to, held.sent)
    if stale and not prune:
        raise PublishError(
            f"{to.repo}: holds weights that {folder} does not ({', '.join(stale[:3])}), which "
            "loaders could take for these; delete them in the same commit (--prune), or push to "
            "another --revision"
        )
    verified = verify(folder, progress)
    text = message or f"{_title(whole)} with weightlens {VERSION}"
    return _Prepared(whole, held, to, stale, verified, Wish(text, private, create_pr, stale))


def _title(whole: Whole) -> str:
    return "Upload adapter" if whole.kind == "adapter" else "Upload model"


def _stale(to: Destination, sent: Mapping[str, Path]) -> tuple[str, ...]:
    return tuple(
        path
        for path in to.files
        if path not in sent and any(fnmatchcase(path, pattern) for pattern in _WEIGHTS)
    )


def _sent_file(
    path: str, file: Path, before: RemoteFile | None, *, after: RemoteFile | None = None
) -> SentFile:
    """before, after: what the Hub holds there; after None: nothing was sent yet."""
    state: Literal["new", "changed", "unchanged"] = "new"
    if before is not None:
        # once it is sent the hashes there are those of the files, and nothing needs reading again
        same = before == after if after is not None else is_same(before, file)
        state = "unchanged" if same else "changed"
    there = after or before
    how = expected_way(path, file) if there is None else there.way
    return SentFile(path=path, size=file.stat().st_size, how=how, state=state)


def _report(folder: Path, ready: _Prepared, files: list[SentFile], *, planned: bool) -> PushReport:
    to = ready.to
    return PushReport(
        weightlens=VERSION,
        folder=str(folder),
        repo=to.repo,
        revision=to.revision,
        kind=ready.whole.kind,
        planned=planned,
        created=not to.exists,
        private=bool(to.private) if to.exists else ready.wish.private,
        message=ready.wish.message,
        files=files,
        verified=ready.verified,
        left_out=[LeftOut(path=path, reason=why) for path, why in ready.held.left_out.items()],
        removed=list(ready.stale),
        warnings=[*check_card(folder), *warning_of(folder)],
    )
