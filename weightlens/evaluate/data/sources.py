"""The data of a task: from a folder on this machine, else from the Hub by a pinned commit."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from weightlens.errors import EvaluationError
from weightlens.evaluate.data.archive import member_of
from weightlens.evaluate.data.formats import LARGEST, Row, read_rows
from weightlens.evaluate.taskfile import Source, TaskFile


@dataclass(frozen=True)
class Found:
    """The rows of a task's data, as stored.

    source: that had them. place: the same in words. hash: sha256: and the digest of the bytes as
    read (of a zip, those of its file; of several files, of their digests in order).
    """

    rows: list[Row]
    source: Source
    place: str
    hash: str


class _Absent(Exception):
    """A source does not have the data; the message says why."""


@dataclass(frozen=True)
class Sources:
    """Where data may come from.

    folder: of data files, laid out as the task files say. offline: the Hub is not asked; what
    huggingface_hub has in its cache is used all the same.
    """

    folder: Path | None = None
    offline: bool = False

    def find(self, task: TaskFile, beside: Path | None = None) -> Found:
        """The data of a task, from the first of its sources that has it.

        beside: the folder of a task file of the user's own. Raises EvaluationError, which says how
        to get the data where nothing has it.
        """
        if self.folder is not None and not self.folder.is_dir():
            raise EvaluationError(f"--data {self.folder}: no such folder")
        reasons = []
        for source in task.data:
            try:
                if source.repo is not None:
                    return self._from_hub(source)
                return self._from_folder(source, beside)
            except _Absent as absent:
                reasons.append(str(absent))
        raise EvaluationError(_how_to_get(task, reasons))

    def _from_folder(self, source: Source, beside: Path | None) -> Found:
        assert source.file is not None
        folders = [folder for folder in (beside, self.folder) if folder is not None]
        path = next((f / source.file for f in folders if (f / source.file).is_file()), None)
        if path is None:
            where = " or ".join(map(str, folders))
            raise _Absent(f"no {source.file} in {where}" if folders else "no --data was given")
        content, name = _bytes(path), str(path)
        if source.member is not None:
            content = member_of(content, source.member, _password(source), name)
            name = f"{name}/{source.member}"
        rows = read_rows(content, name, source.columns)
        return Found(rows, source, source.file, _digest([content]))

    def _from_hub(self, source: Source) -> Found:
        assert source.repo is not None and source.revision is not None
        contents = [_bytes(self._downloaded(source, file)) for file in source.files]
        at = f"{source.repo}@{source.revision[:12]}"
        rows = [
            row
            for file, content in zip(source.files, contents, strict=True)
            for row in read_rows(content, f"{at}/{file}", source.columns)
        ]
        return Found(rows, source, at, _digest(contents))

    def _downloaded(self, source: Source, file: str) -> Path:
        from huggingface_hub import hf_hub_download

        from weightlens.hub.refusal import refusals

        assert source.repo is not None
        try:
            return Path(
                hf_hub_download(
                    source.repo,
                    file,
                    repo_type="dataset",
                    revision=source.revision,
                    local_files_only=self.offline,
                )
            )
        except refusals() as error:
            raise _Absent(self._refusal(source, error)) from error

    def _refusal(self, source: Source, error: BaseException) -> str:
        from huggingface_hub import constants, get_token
        from huggingface_hub.errors import GatedRepoError

        if self.offline or constants.HF_HUB_OFFLINE:
            return f"the Hub's {source.repo} is not in the cache, and asking it is switched off"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, GatedRepoError) or (source.gated and status in (401, 403)):
            token = "your token's account" if get_token() else "hf auth login or HF_TOKEN"
            return (
                f"the Hub's {source.repo} is gated: accept its terms at "
                f"https://huggingface.co/datasets/{source.repo} with {token}"
            )
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        return f"the Hub did not hand over {source.repo} ({reason})"


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise EvaluationError(f"{path}: larger than {LARGEST >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from error


def _password(source: Source) -> str | None:
    if source.password is None:
        return None
    password = os.environ.get(source.password)
    if not password:
        raise _Absent(f"{source.file} needs its password in the variable {source.password}")
    return password


def _digest(contents: list[bytes]) -> str:
    digests = [sha256(content).hexdigest() for content in contents]
    whole = digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode()).hexdigest()
    return f"sha256:{whole}"


def _how_to_get(task: TaskFile, reasons: list[str]) -> str:
    files = " or ".join(task.files)
    hub = next((source.repo for source in task.data if source.repo is not None), None)
    ways = [f"give --data DIR, a folder with {files}"] if files else []
    ways.append(f"let the Hub's {hub} be downloaded" if hub else "only a local file will do")
    return (
        f"{task.name}: its data is not there ({'; '.join(dict.fromkeys(reasons))}); "
        f"{', or '.join(ways) if hub else ': '.join(ways)} (licence: {task.licence})"
    )
