"""What a Hub on this machine needs to take uploads as well, as huggingface_hub sends them.

    uploads = accept_uploads(hub)

Files named in `loopback.LARGE` go the way of LFS: a batch that says where to, one PUT or several to
another host than the pages, a check, and a commit in lines of JSON that names them. With
`uploads.cas` set to a folder they go there through Xet.
"""

import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loopback import LARGE, Answer, Asked, Hub, Repo, answer_json, blob_of, commit_of

_NEW = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}


@dataclass
class Uploads:
    """What came in, and how the Hub is to take it.

    stored: large files by sha256; cas: where Xet is to put them; role, permissions: of the token;
    owners: whose repos it may write to; others: names of data sets and Spaces; limit: bytes that a
    large file may have before there is no room for it; part: bytes of one part, of larger files;
    yaml: what is wrong with every card.
    """

    hub: Hub
    stored: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    cas: Path | None = None
    role: str = "write"
    permissions: tuple[str, ...] = ()
    owners: tuple[str, ...] = ("me", "org")
    others: tuple[str, ...] = ()
    limit: int = 10**9
    part: int = 20_000
    yaml: str = ""
    commits: int = 0

    def forget(self) -> None:
        """Has nothing been sent yet."""
        self.stored.clear()
        self.parts.clear()
        self.commits = 0

    def announce(self, data: bytes, xet_hash: str) -> None:
        """Says which of Xet's hashes a file has. The Hub reads that out of what arrives."""
        digest = hashlib.sha256(data).hexdigest()
        self.stored[digest], self.hub.xet[digest] = data, xet_hash

    def whoami(self, asked: Asked) -> Answer:
        if refusal := self._refusal(asked):
            return refusal
        token: dict[str, object] = {"displayName": "t", "role": self.role}
        if self.role == "fineGrained":
            scope = {"entity": {"type": "user"}, "permissions": list(self.permissions)}
            token["fineGrained"] = {"global": [], "scoped": [scope]}
        return answer_json({"type": "user", "name": "me", "auth": {"accessToken": token}})

    def other(self, asked: Asked, kind: str, name: str) -> Answer:
        if f"{kind}/{name}" in self.others:
            return answer_json({"id": name, "sha": "0" * 40, "private": False, "tags": []})
        return Answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def create(self, asked: Asked) -> Answer:
        said = json.loads(asked.body)
        name = f"{said['organization'] or 'me'}/{said['name']}"
        if refusal := self._refusal(asked, name):
            return refusal
        if name in self.hub.repos:
            return answer_json({"error": "You already created this model repo"}, 409)
        repo = self.hub.add(name, _NEW)
        repo.private = said.get("visibility") == "private"
        return answer_json({"url": f"{self.hub.url}/{name}"})

    def validate(self, asked: Asked) -> Answer:
        if self.yaml:
            return answer_json({"errors": [{"message": self.yaml}], "warnings": []}, 400)
        return answer_json({"errors": [], "warnings": []})

    def branch(self, asked: Asked, name: str, branch: str) -> Answer:
        if refusal := self._refusal(asked, name):
            return refusal
        repo = self.hub.repos[name]
        if branch in repo.revisions:
            return answer_json({"error": "Reference already exists"}, 409)
        repo.kept[repo.commit] = dict(repo.files)
        repo.revisions[branch] = repo.commit
        return answer_json({})

    def preupload(self, asked: Asked, name: str, revision: str) -> Answer:
        if refusal := self._refusal(asked, None if "create_pr" in asked.query else name):
            return refusal
        there = self.hub.repos[name].at(revision)
        files = []
        for file in json.loads(asked.body)["files"]:
            path, large = file["path"], file["path"].endswith(LARGE)
            said = {"path": path, "uploadMode": "lfs" if large else "regular"}
            if path in there:
                data = there[path]
                said["oid"] = hashlib.sha256(data).hexdigest() if large else blob_of(data)
            files.append(said | {"shouldIgnore": False})
        return answer_json({"files": files})

    def batch(self, asked: Asked, name: str) -> Answer:
        if refusal := self._refusal(asked):
            return refusal
        objects = [self._object(o["oid"], o["size"]) for o in json.loads(asked.body)["objects"]]
        return answer_json({"transfer": "basic", "objects": objects})

    def _object(self, oid: str, size: int) -> dict[str, Any]:
        said: dict[str, Any] = {"oid": oid, "size": size}
        if oid in self.stored:
            return said
        if size > self.limit:
            full = "Private repository storage limit reached, please upgrade your plan"
            return said | {"error": {"code": 403, "message": full}}
        storage = f"http://localhost:{self.hub.port}/storage/{oid}"
        upload: dict[str, Any] = {"href": storage}
        if size > self.part:
            count = -(-size // self.part)
            parts = {f"{n:05d}": f"{storage}/{n}" for n in range(1, count + 1)}
            upload = {"href": f"{self.hub.url}/complete/{oid}",
                      "header": {"chunk_size": str(self.part)} | parts}  # fmt: skip
        verify = {"href": f"{self.hub.url}/verify"}
        return said | {"actions": {"upload": upload, "verify": verify}}

    def put(self, asked: Asked, oid: str) -> Answer:
        return self._store(oid, asked.body)

    def put_part(self, asked: Asked, oid: str, number: str) -> Answer:
        self.parts.setdefault(oid, {})[int(number)] = asked.body
        return Answer(200, b"", {"ETag": f'"{number}"'})

    def complete(self, asked: Asked, oid: str) -> Answer:
        parts = self.parts.get(oid, {})
        named = [part["partNumber"] for part in json.loads(asked.body)["parts"]]
        if named != sorted(parts):
            return Answer(400, b"parts are missing")
        return self._store(oid, b"".join(parts[n] for n in named))

    def _store(self, oid: str, data: bytes) -> Answer:
        if hashlib.sha256(data).hexdigest() != oid:
            return Answer(400, b"not the bytes that were announced")
        self.stored[oid] = data
        return Answer(200, b"", {"ETag": f'"{oid}"'})

    def verify(self, asked: Asked) -> Answer:
        said = json.loads(asked.body)
        data = self.stored.get(said["oid"])
        return Answer(200 if data is not None and len(data) == said["size"] else 404, b"{}")

    def commit(self, asked: Asked, name: str, revision: str) -> Answer:
        request = "create_pr=1" in asked.query
        if refusal := self._refusal(asked, None if request else name):
            return refusal
        repo = self.hub.repos[name]
        header, *lines = [json.loads(line) for line in asked.body.splitlines()]
        parent = header["value"].get("parentCommit")
        if parent not in (None, repo.commit_at(revision)):
            said = "A commit has happened since. Please refresh and try again."
            return answer_json({"error": said}, 412)
        files = dict(repo.at(revision))
        for line in lines:
            self._apply(files, line["key"], line["value"])
        self.commits += 1
        return answer_json(self._committed(repo, name, revision, files, request=request))

    def _apply(self, files: dict[str, bytes], key: str, said: dict[str, str]) -> None:
        if key == "file":
            files[said["path"]] = base64.b64decode(said["content"])
        elif key == "lfsFile":
            files[said["path"]] = self.stored[said["oid"]]
        else:
            del files[said["path"]]

    def _committed(
        self, repo: Repo, name: str, revision: str, files: dict[str, bytes], *, request: bool
    ) -> dict[str, object]:
        commit = commit_of(files)
        said: dict[str, object] = {
            "commitOid": commit,
            "commitUrl": f"{self.hub.url}/{name}/commit/{commit}",
        }
        if request:
            number = 1 + sum(r.startswith("refs/pr/") for r in repo.revisions)
            revision = f"refs/pr/{number}"
            said["pullRequestUrl"] = f"{self.hub.url}/{name}/discussions/{number}"
        repo.kept |= {commit: files, repo.commit: repo.files}
        if revision == "main":
            repo.files = files
        else:
            repo.revisions[revision] = commit
        return said

    def xet_token(self, asked: Asked, name: str, kind: str) -> Answer:
        if refusal := self._refusal(asked, name if kind == "write" else None):
            return refusal
        ends = str(int(time.time()) + 3600)
        said = {"casUrl": f"local://{self.cas}", "accessToken": "t", "exp": int(ends)}
        headers = {"X-Xet-Cas-Url": f"local://{self.cas}", "X-Xet-Access-Token": "t",
                   "X-Xet-Token-Expiration": ends}  # fmt: skip
        return Answer(200, json.dumps(said).encode(), headers)

    def _refusal(self, asked: Asked, name: str | None = None) -> Answer | None:
        """name: of a model that is to be written to."""
        if asked.headers.get("authorization") != f"Bearer {self.hub.TOKEN}":
            said = "Invalid credentials in Authorization header"
            return Answer(401, b"{}", {"X-Error-Message": said})
        if name is not None and name.partition("/")[0] not in self.owners:
            said = f"You don't have the rights to write to {name}"
            return answer_json({"error": said}, 403)
        return None


def accept_uploads(hub: Hub) -> Uploads:
    """Has a Hub take uploads from now on."""
    uploads = Uploads(hub)
    hub.routes[:0] = [
        ("GET", re.compile(r"/api/whoami-v2"), uploads.whoami),
        ("GET", re.compile(r"/api/(datasets|spaces)/(.+)"), uploads.other),
        ("POST", re.compile(r"/api/repos/create"), uploads.create),
        ("POST", re.compile(r"/api/validate-yaml"), uploads.validate),
        ("POST", re.compile(r"/api/models/(.+)/branch/([^/]+)"), uploads.branch),
        ("POST", re.compile(r"/api/models/(.+)/preupload/([^/]+)"), uploads.preupload),
        ("POST", re.compile(r"/(.+)\.git/info/lfs/objects/batch"), uploads.batch),
        ("PUT", re.compile(r"/storage/(\w+)"), uploads.put),
        ("PUT", re.compile(r"/storage/(\w+)/(\d+)"), uploads.put_part),
        ("POST", re.compile(r"/complete/(\w+)"), uploads.complete),
        ("POST", re.compile(r"/verify"), uploads.verify),
        ("POST", re.compile(r"/api/models/(.+)/commit/([^/]+)"), uploads.commit),
        ("GET", re.compile(r"/api/models/(.+)/xet-(write|read)-token/.+"), uploads.xet_token),
    ]
    return uploads
