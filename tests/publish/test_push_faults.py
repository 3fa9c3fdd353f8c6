"""Something goes wrong with every request of a push in turn; the next push puts it right.

A push that nothing disturbs is looked at first: each of its requests is then disturbed in each way,
and either the client tries again and the push is done, or it ends in one line, after which the same
push is. Whatever happened, the Hub then has the folder's bytes, in one commit.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import write_model
from loopback import CUT, Answer, Asked, Hub, answer_json
from loopback_uploads import Uploads
from published import CARD, arrived

from weightlens.errors import PublishError
from weightlens.publish.pushing import push

Way = Callable[[Callable[[], Answer]], Answer]


def refused(status: int, said: str = "no", **headers: str) -> Way:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = answer_json({"error": said}, status).body
    return lambda answered: Answer(status, body, {"Content-Type": "application/json", **named})


def unanswered(answered: Callable[[], Answer]) -> Answer:
    return CUT


def lost(answered: Callable[[], Answer]) -> Answer:
    answered()
    return CUT


WAYS: dict[str, Way] = {
    "the connection is cut": unanswered,
    "the answer is lost": lost,
    "401": refused(401),
    "403": refused(403),
    "409": refused(409),
    "429": refused(429, Retry_After="3"),
    "500": refused(500),
    "500 as a page": lambda answered: Answer(500, b"<html>", {"Content-Type": "text/html"}),
}
ALWAYS = ("the connection is cut", "429", "500")
"""Until the push ends: the client gives up after some tries."""


class Disturbance:
    """Disturbs one request, by its number, or that and all others to the same place."""

    def __init__(self, number: int, way: Way, *, always: bool) -> None:
        self.number, self.way, self.always = number, way, always
        self.seen: list[tuple[str, str]] = []
        self.place: tuple[str, str] | None = None

    def __call__(self, asked: Asked, answered: Callable[[], Answer]) -> Answer:
        if asked.path == "/api/agent-harnesses":  # nothing to do with the push
            return Answer(404)
        place = (asked.method, asked.path)
        self.seen.append(place)
        if len(self.seen) - 1 == self.number:
            self.place = place
            return self.way(answered)
        return self.way(answered) if self.always and place == self.place else answered()


def disturbed(hub: Hub, uploads: Uploads, model: Path, disturbance: Disturbance) -> str | None:
    """What a push to an empty Hub says; None if it succeeds."""
    hub.repos.clear()
    uploads.forget()
    hub.trouble = disturbance
    try:
        push(model, "org/merged", private=True)
    except PublishError as error:
        return str(error)
    finally:
        hub.trouble = lambda asked, answered: answered()
    return None


@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
def test_a_push_survives_trouble_at_every_request(
    hub: Hub, uploads: Uploads, model: Path, always: bool
) -> None:
    quiet = Disturbance(-1, unanswered, always=False)
    assert disturbed(hub, uploads, model, quiet) is None
    count = len(quiet.seen)
    assert {method for method, _ in quiet.seen} == {"GET", "POST", "PUT"} and count > 15, quiet.seen
    ended = dict.fromkeys(WAYS, 0)
    for name in ALWAYS if always else WAYS:
        for number in range(count):
            said = disturbed(hub, uploads, model, Disturbance(number, WAYS[name], always=always))
            where = f"{name}, request {number}: {quiet.seen[number]}: {said}"
            ended[name] += said is not None
            if said is None:
                assert hub.repos["org/merged"].private, where
            else:
                assert said.startswith("org/merged: "), where
                assert "\n" not in said and Hub.TOKEN not in said, where
                push(model, "org/merged")
            assert arrived(hub, "org/merged", model), where
            assert uploads.commits == 1, where
    if always:  # no way round it, wherever it is
        assert [ended[name] for name in ALWAYS] == [count] * len(ALWAYS)
    else:  # what the client tries again: all large files, and what comes before them
        assert 0 < ended["500"] < count and 0 < ended["the connection is cut"] < count


def test_a_repo_that_was_made_public_meanwhile_gets_nothing(
    hub: Hub, uploads: Uploads, model: Path
) -> None:
    def overtaken(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        if asked.path == "/api/repos/create":
            hub.add("org/merged", {})
        return answered()

    hub.trouble = overtaken
    with pytest.raises(PublishError, match="is there already, and public"):
        push(model, "org/merged", private=True)
    assert hub.repos["org/merged"].files == {}


def test_a_network_that_is_lost_in_the_midst_of_a_file(
    hub: Hub, uploads: Uploads, tmp_path: Path
) -> None:
    """More bytes than a connection holds: the rest of them never leaves."""
    folder = write_model(tmp_path / "large", {"w": torch.zeros(2_000_000)})
    (folder / "README.md").write_text(CARD)
    uploads.part = 10**9
    cuts: list[str] = []

    def first(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        if asked.method == "PUT":
            cuts.append(asked.path)
        return CUT if cuts == [asked.path] else answered()

    hub.trouble = first
    push(folder, "org/once")
    assert len(cuts) == 2  # the client tried again
    assert arrived(hub, "org/once", folder)

    uploads.forget()
    hub.trouble = lambda asked, answered: CUT if asked.method == "PUT" else answered()
    with pytest.raises(PublishError, match=r"the Hub was lost on the way .*run the same command"):
        push(folder, "org/always")
    assert (uploads.stored, hub.repos["org/always"].files.keys()) == ({}, {".gitattributes"})
    hub.trouble = lambda asked, answered: answered()
    push(folder, "org/always")
    assert arrived(hub, "org/always", folder)
