"""A push through Xet, into a folder that stands for its storage."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback import Hub
from loopback_uploads import Uploads
from published import arrived, downloaded, files_of

from weightlens.publish.pushing import plan_push, push

hf_xet = pytest.importorskip("hf_xet")


@pytest.fixture
def cas(uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Xet puts what it is given."""
    from huggingface_hub.utils._xet import XET_CONNECTION_INFO_CACHE, abort_xet_session

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "home" / "xet"))
    abort_xet_session()
    XET_CONNECTION_INFO_CACHE.clear()
    uploads.cas = tmp_path / "cas"
    yield uploads.cas
    abort_xet_session()


def test_large_files_go_through_xet_and_come_back(
    hub: Hub, uploads: Uploads, cas: Path, model: Path
) -> None:
    weights = sorted(model.glob("*.safetensors"))
    # the Hub reads out of what arrives which hash of Xet stands for which file
    for file, known in zip(weights, hf_xet.hash_files([str(f) for f in weights]), strict=True):
        uploads.announce(file.read_bytes(), known.hash)
    assert {f.how for f in plan_push(model, "org/merged").files} == {"xet", "regular"}
    report = push(model, "org/merged")
    assert {f.path for f in report.files if f.how == "xet"} == {f.name for f in weights}
    assert arrived(hub, "org/merged", model)
    assert sum(f.stat().st_size for f in cas.rglob("*") if f.is_file()) > 40_000
    assert not any(request.method == "PUT" for request in hub.requests)

    assert downloaded("org/merged") == files_of(model)
    assert not any(request.path.startswith("/stored/") for request in hub.requests)
