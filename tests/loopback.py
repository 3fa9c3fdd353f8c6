"""A Hub on this machine: what huggingface_hub asks a server for, from models in memory.

    with serving() as hub, hub.in_use(monkeypatch, cache=folder):
        hub.add("org/model", {"config.json": b"{}"})

Files of weights are handed over by another host than the pages, as the real Hub does. Every request
is recorded with the bytes that its answer had. A route more is a line more in `Hub.routes`, as
`loopback_uploads` has them for what is sent.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".bin")
"""Kept elsewhere and redirected to."""


@dataclass
class Repo:
    """A model. files: by path, on main; revisions: commit by branch or tag, beside main; kept: the
    files of commits that are not main's. private, gated: only for who comes with the Hub's
    token."""

    files: dict[str, bytes]
    revisions: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """Changes with the files."""
        return commit_of(self.files)

    def commit_at(self, revision: str) -> str | None:
        """The commit of a branch, of a tag, or itself; None where there is none."""
        here = {"main": self.commit, self.commit: self.commit}
        return (here | {c: c for c in self.kept} | self.revisions).get(revision)

    def at(self, revision: str) -> dict[str, bytes]:
        """The files at a revision."""
        return self.kept.get(str(self.commit_at(revision)), self.files)


def commit_of(files: Mapping[str, bytes]) -> str:
    """The commit that a tree of files has."""
    digest = hashlib.sha1()
    for path, data in sorted(files.items()):
        digest.update(path.encode() + b"\0" + data)
    return digest.hexdigest()


def blob_of(data: bytes) -> str:
    """git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Request:
    """What was asked, with headers in small letters, and the answer: its status, and how many bytes
    its body had."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int
    sent: int


@dataclass(frozen=True)
class Answer:
    """A status, headers and a body. Status 0: the connection ends without one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """What came in; headers in small letters. read: the body, which has come only as far as the
    connection holds."""

    method: str
    path: str
    headers: Mapping[str, str]
    read: Callable[[], bytes]
    query: str = ""

    @cached_property
    def body(self) -> bytes:
        """All of it."""
        return self.read()


CUT = Answer(0)
"""The connection is lost."""

Route = Callable[..., Answer]
"""Called with what was asked and the parts of the path that its pattern matches."""

Trouble = Callable[[Asked, Callable[[], Answer]], Answer]
"""Called with what was asked and with what answers it properly."""


class Hub:
    """The server's models, and what was asked of it. down: every answer is a 503; trouble: what
    comes between a request and its answer; xet: Xet's hash of a file by its sha256, where it lies
    in Xet's storage as well.

    TOKEN opens all models; EXPIRED is refused whatever is asked for.
    """

    TOKEN, EXPIRED = "hf_loopback", "hf_expired"

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.down = False
        self.trouble: Trouble = lambda asked, answered: answered()
        self.xet: dict[str, str] = {}
        self.port = 0
        self._lock = threading.Lock()
        self.routes: list[tuple[str, re.Pattern[str], Route]] = [
            ("GET", re.compile(r"/api/models/(.+)/revision/([^/]+)"), self._info),
            ("GET", re.compile(r"/api/models/(.+)/tree/([^/]+)"), self._tree),
            ("GET", re.compile(r"/api/models/(.+)"), self._info),
            ("GET", re.compile(r"/stored/([0-9a-f]{64})"), self._stored),
            ("GET", re.compile(r"/(.+)/resolve/([^/]+)/(.+)"), self._file),
        ]  # fmt: skip

    @property
    def url(self) -> str:
        """The address of the pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sent(self) -> int:
        """Bytes in the bodies of all answers."""
        return sum(request.sent for request in self.requests)

    def add(self, name: str, files: Mapping[str, bytes] | Path, **settings: bool) -> Repo:
        """A model, from bytes by path or from a folder."""
        if isinstance(files, Path):
            files = {
                str(f.relative_to(files)): f.read_bytes() for f in files.rglob("*") if f.is_file()
            }
        self.repos[name] = Repo(dict(files), **settings)
        return self.repos[name]

    def answer(self, asked: Asked) -> Answer:
        """What the trouble makes of what the first route that fits has to say."""
        return self.trouble(asked, lambda: self._answered(asked))

    def _answered(self, asked: Asked) -> Answer:
        """HEAD is GET without a body."""
        if self.down:
            return Answer(503, b"down")
        if asked.headers.get("authorization") == f"Bearer {self.EXPIRED}":
            said = "Invalid credentials in Authorization header"
            return Answer(401, b"{}", {"X-Error-Message": said})
        method = "GET" if asked.method == "HEAD" else asked.method
        for wanted, pattern, route in self.routes:
            if wanted == method and (found := pattern.fullmatch(asked.path)):
                return route(asked, *map(unquote, found.groups()))
        return Answer(404, b"no such page")

    def record(self, asked: Asked, answer: Answer, sent: int) -> None:
        """Remembers a request."""
        with self._lock:
            self.requests.append(
                Request(asked.method, asked.path, asked.headers, answer.status, sent)
            )

    @contextmanager
    def in_use(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator["Hub"]:
        """Has huggingface_hub ask this server, with an empty cache and no token."""
        from huggingface_hub import close_session, constants

        settings = {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(cache / "token"),
        }
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setattr(constants, name, value)
            patch.delenv("HF_TOKEN", raising=False)
            patch.setenv("NO_PROXY", "127.0.0.1,localhost")
            close_session()
            yield self
            close_session()

    def environment(self, cache: Path) -> dict[str, str]:
        """The same for another process."""
        return {
            "HF_ENDPOINT": self.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_TOKEN_PATH": str(cache / "token"),
            "NO_PROXY": "127.0.0.1,localhost",
        }  # fmt: skip

    def _known(self, asked: Asked, name: str) -> bool:
        """Whether there is such a model, and whoever asks may know."""
        return name in self.repos and (not self.repos[name].private or self._trusted(asked))

    def _trusted(self, asked: Asked) -> bool:
        return asked.headers.get("authorization") == f"Bearer {self.TOKEN}"

    def _commit(self, name: str, revision: str) -> str | None:
        return self.repos[name].commit_at(revision)

    def _refusal(self, asked: Asked, name: str, revision: str) -> Answer | None:
        if not self._known(asked, name):
            status = 404 if self._trusted(asked) else 401
            return Answer(status, b"{}", {"X-Error-Code": "RepoNotFound"})
        if self._commit(name, revision) is None:
            return Answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return None

    def _info(self, asked: Asked, name: str, revision: str = "main") -> Answer:
        if refusal := self._refusal(asked, name, revision):
            return refusal
        repo = self.repos[name]
        siblings = [
            {"rfilename": path, "size": len(data), "blobId": blob_of(data)}
            for path, data in sorted(repo.at(revision).items())
        ]
        said = {"_id": "0", "id": name, "modelId": name, "sha": self._commit(name, revision),
                "private": repo.private, "gated": "auto" if repo.gated else False,
                "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                "siblings": siblings}  # fmt: skip
        return answer_json(said)

    def _tree(self, asked: Asked, name: str, revision: str) -> Answer:
        if refusal := self._refusal(asked, name, revision):
            return refusal
        files = self.repos[name].at(revision)
        return answer_json([self.entry(path, data) for path, data in sorted(files.items())])

    def entry(self, path: str, data: bytes) -> dict[str, object]:
        """What a list of files says of one."""
        said = {"type": "file", "path": path, "size": len(data), "oid": blob_of(data)}
        if not path.endswith(LARGE):
            return said
        digest = hashlib.sha256(data).hexdigest()
        pointer = f"oid sha256:{digest}\nsize {len(data)}\n".encode()
        lfs = {"oid": digest, "size": len(data), "pointerSize": len(pointer)}
        said |= {"oid": blob_of(pointer), "lfs": lfs}
        return said | ({"xetHash": self.xet[digest]} if digest in self.xet else {})

    def _file(self, asked: Asked, name: str, revision: str, path: str) -> Answer:
        if refusal := self._refusal(asked, name, revision):
            return refusal
        repo = self.repos[name]
        if repo.gated and not self._trusted(asked):
            status = 403 if "authorization" in asked.headers else 401
            return Answer(status, b"{}", {"X-Error-Code": "GatedRepo"})
        commit = {"X-Repo-Commit": str(self._commit(name, revision))}
        files = repo.at(revision)
        if path not in files:
            return Answer(404, b"{}", commit | {"X-Error-Code": "EntryNotFound"})
        data = files[path]
        if not path.endswith(LARGE):
            return _ranged(asked, data, commit | {"ETag": f'"{blob_of(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        elsewhere = f"http://localhost:{self.port}/stored/{digest}"
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{digest}"'}
        if digest in self.xet:
            linked["X-Xet-Hash"] = self.xet[digest]
            route = f"{self.url}/api/models/{name}/xet-read-token/{commit['X-Repo-Commit']}"
            linked["X-Xet-Refresh-Route"] = route
        return Answer(302, b"", commit | linked | {"Location": elsewhere})

    def _stored(self, asked: Asked, digest: str) -> Answer:
        trees = [files for r in self.repos.values() for files in (r.files, *r.kept.values())]
        for files in trees:
            for path, data in files.items():
                if path.endswith(LARGE) and hashlib.sha256(data).hexdigest() == digest:
                    return _ranged(asked, data, {"ETag": f'"{digest}"'})
        return Answer(404)


def answer_json(said: object, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(said).encode(), {"Content-Type": "application/json"})


def _ranged(asked: Asked, data: bytes, headers: Mapping[str, str]) -> Answer:
    """All of it, or the range asked for."""
    headers = {**headers, "Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if wanted is None:
        return Answer(200, data, headers)
    first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    if first > last:
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Answer(206, data[first : last + 1], headers)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every body waits 40 ms for the headers to be acknowledged

    def _handle(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = urlsplit(self.path)
        asked = Asked(self.command, url.path, headers, lambda: self.rfile.read(size), url.query)
        answer = hub.answer(asked)
        sent = b"" if self.command == "HEAD" else answer.body
        hub.record(asked, answer, len(sent))
        if answer == CUT:
            self.close_connection = True
            return
        assert len(asked.body) == size, "else the next request would begin in the midst of it"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub without models, on a free port of this machine, until the block ends."""
    hub, server = Hub(), ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
