"""What is said where the Hub does not take a model, or cannot be asked: one clear line each."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from loopback import CUT, Answer, Asked, Hub, answer_json
from loopback_uploads import Uploads

from weightlens.errors import PublishError
from weightlens.publish.pushing import push


def test_what_is_wrong_with_the_token_is_said_before_anything_is_sent(
    hub: Hub, uploads: Uploads, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match=r"org/m: no token is set; log in \(hf auth login"):
        push(model, "org/m")
    monkeypatch.setenv("HF_TOKEN", Hub.EXPIRED)
    with pytest.raises(PublishError, match="org/m: the Hub refuses your token; log in"):
        push(model, "org/m")
    monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
    uploads.role = "read"
    with pytest.raises(PublishError, match="org/m: your token can read only; make one with write"):
        push(model, "org/m")
    uploads.role, uploads.permissions = "fineGrained", ("repo.content.read", "inference")
    with pytest.raises(PublishError, match="org/m: your token can read only"):
        push(model, "org/m")
    assert all(request.method == "GET" for request in hub.requests)
    uploads.permissions = ("repo.content.read", "repo.write")
    assert push(model, "org/m").created


def test_a_repo_that_the_token_may_not_write_to(hub: Hub, uploads: Uploads, model: Path) -> None:
    said = r"org/m: your token may not write there \(You don't have the rights.*to org's repos"
    uploads.owners = ()
    with pytest.raises(PublishError, match=said):
        push(model, "org/m")
    hub.add("org/m", {})
    with pytest.raises(PublishError, match=said):
        push(model, "org/m")


@pytest.mark.parametrize(
    "name", ["org/-m", "a/b/c", "org/m.git", "org/m--n", "org/" + "m" * 97, "org/m n", ""]
)
def test_a_name_that_cannot_be(hub: Hub, model: Path, name: str) -> None:
    with pytest.raises(PublishError, match="no name that the Hub takes: OWNER/NAME"):
        push(model, name)
    assert hub.requests == []


def test_names_of_other_things_on_the_hub(hub: Hub, uploads: Uploads, model: Path) -> None:
    with pytest.raises(PublishError, match="a model has no datasets/ in its name"):
        push(model, "datasets/org/m")
    uploads.others = ("datasets/org/d", "spaces/org/s")
    with pytest.raises(PublishError, match="org/d: is a data set on the Hub, and no model"):
        push(model, "org/d")
    with pytest.raises(PublishError, match="org/s: is a Space on the Hub, and no model"):
        push(model, "org/s")
    assert hub.repos == {}


def test_where_no_room_is_left(hub: Hub, uploads: Uploads, model: Path) -> None:
    uploads.limit = 100
    said = r"org/m: no room is left for it on the Hub \(.*storage limit reached.*free some"
    with pytest.raises(PublishError, match=said):
        push(model, "org/m")
    uploads.limit = 10**9
    assert push(model, "org/m").commit


def test_a_card_that_the_hub_does_not_take(hub: Hub, uploads: Uploads, model: Path) -> None:
    uploads.yaml = '"license" must be one of [apache-2.0, ...]'
    with pytest.raises(
        PublishError, match=r"org/m: the Hub did not take it: Invalid metadata .*li"
    ):
        push(model, "org/m")
    assert uploads.stored == {}


def test_gated_terms_are_named(hub: Hub, model: Path) -> None:
    hub.add("org/m", {})
    gated = answer_json({"error": "gated"}, 403)
    gated = type(gated)(403, gated.body, {**gated.headers, "X-Error-Code": "GatedRepo"})
    hub.trouble = lambda asked, answered: gated if "/preupload/" in asked.path else answered()
    with pytest.raises(PublishError, match="org/m: is gated; accept its terms"):
        push(model, "org/m")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (409, "it has changed while this ran .*run the same command again"),
        (412, "it has changed while this ran .*run the same command again"),
        (429, "too many requests .*wait, then run the same command again"),
        (500, "the Hub failed .*run the same command again: what has arrived is not sent twice"),
        (418, "the Hub did not take it .418: told so"),
        (0, "the Hub was lost on the way .*run the same command again: what has arrived"),
    ],
)
def test_trouble_with_the_commit_has_words_of_its_own(
    hub: Hub, model: Path, status: int, said: str
) -> None:
    bad = answer_json({"error": "told so"}, status) if status else CUT
    hub.trouble = lambda asked, answered: bad if "/commit/" in asked.path else answered()
    with pytest.raises(PublishError, match=f"^org/m: {said}"):
        push(model, "org/m")


def test_another_commit_in_between_is_not_run_over(hub: Hub, model: Path) -> None:
    push(model, "org/m")
    shutil.copy(model / "README.md", model / "LICENSE")

    def overtaken(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        if "/commit/" in asked.path:
            hub.repos["org/m"].files["config.json"] = b"theirs"
        return answered()

    hub.trouble = overtaken
    with pytest.raises(
        PublishError, match=r"it has changed while this ran \(A commit has happened"
    ):
        push(model, "org/m")


def test_storage_that_fails_is_not_the_tokens_fault(hub: Hub, model: Path) -> None:
    def expired(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        return answer_json({}, 403) if asked.path.startswith("/storage") else answered()

    hub.trouble = expired
    with pytest.raises(
        PublishError, match=r"org/m: the Hub's storage failed \(403\); run the same"
    ):
        push(model, "org/m")


def test_nobody_answers(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="org/m: HF_HUB_OFFLINE forbids asking the Hub"):
        push(model, "org/m")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PublishError, match="org/m: the Hub was lost on the way"):
        push(model, "org/m")


def test_a_file_that_goes_away_meanwhile_is_not_the_networks_fault(hub: Hub, model: Path) -> None:
    def gone(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        if asked.path.endswith("/batch"):
            for shard in model.glob("model-*"):
                shard.unlink(missing_ok=True)
        return answered()

    hub.trouble = gone
    with pytest.raises(PublishError, match=r"org/m: .*model-0000.* cannot be read here \(No such"):
        push(model, "org/m")
