"""Pushes to a Hub on this machine: what arrives is what was there, and can be used."""

import shutil
from pathlib import Path

import pytest
from checkpoints import llama_tensors, moved, write_model
from loopback import Hub
from loopback_uploads import Uploads
from published import CARD, arrived, downloaded, files_of

from weightlens.errors import CheckFailed, PublishError
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.publish.pushing import plan_push, push


def test_what_is_pushed_is_what_is_downloaded(hub: Hub, uploads: Uploads, model: Path) -> None:
    report = push(model, "org/merged")
    assert downloaded("org/merged") == files_of(model)
    assert (report.commit, report.created) == (hub.repos["org/merged"].commit, True)
    assert report.url == f"{hub.url}/org/merged/commit/{report.commit}"
    assert {file.how for file in report.files} == {"lfs", "regular"}
    assert report.bytes == sum(map(len, files_of(model).values()))
    # one file came in parts, and one whole
    sizes = sorted(f.stat().st_size > uploads.part for f in model.glob("*.safetensors"))
    assert sizes == [False, True]


def test_a_pushed_model_is_evaluated_like_the_folder(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightlens.evaluate.asked_model import Settings
    from weightlens.evaluate.chat import Loading
    from weightlens.evaluate.chosen import Changes, Wanted
    from weightlens.evaluate.run import evaluate_models

    folder = Path(shutil.copytree(SHIPPED / "safe-full", tmp_path / "safe"))
    (folder / "README.md").write_text(CARD)
    push(folder, "org/safe")
    wanted = Wanted(tasks=("reasoning",), changes=Changes(limit=4))
    settings = Settings(batch_size=4, loading=Loading(device="cpu", dtype="float32"))
    report = evaluate_models([str(folder), "org/safe"], wanted=wanted, settings=settings)
    here, there = report.models
    assert here.hash == there.hash
    assert [t.value for t in here.tasks] == [t.value for t in there.tasks]


def test_an_adapter_is_pushed_as_one(hub: Hub, adapter: Path) -> None:
    write_model(adapter, llama_tensors(1))  # a merge of it beside it is not the adapter
    report = push(adapter, "org/lora")
    assert report.kind == "adapter"
    there = downloaded("org/lora")
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} <= set(there)
    assert "model.safetensors" not in there
    assert there["adapter_model.safetensors"] == files_of(adapter)["adapter_model.safetensors"]


def test_a_name_alone_is_a_repo_of_the_tokens_account(hub: Hub, model: Path) -> None:
    assert push(model, "merged").repo == "me/merged"
    assert arrived(hub, "me/merged", model)


def test_a_private_repo_is_made_private_and_never_one_that_is_public(hub: Hub, model: Path) -> None:
    assert push(model, "org/closed", private=True).private
    assert hub.repos["org/closed"].private
    assert push(model, "org/closed").private
    push(model, "org/open")
    sent = len(hub.requests)
    with pytest.raises(PublishError, match="org/open: is there already, and public; --private"):
        push(model, "org/open", private=True)
    assert all(request.method == "GET" for request in hub.requests[sent:])


def test_a_branch_is_made_and_main_is_left_alone(hub: Hub, model: Path) -> None:
    push(model, "org/merged")
    before = hub.repos["org/merged"].commit
    write_model(model, llama_tensors(7), shards=2)
    report = push(model, "org/merged", revision="v2")
    assert hub.repos["org/merged"].commit == before
    assert (report.revision, report.commit) == ("v2", hub.repos["org/merged"].revisions["v2"])
    assert arrived(hub, "org/merged", model, "v2")
    assert not arrived(hub, "org/merged", model)


def test_a_pull_request_needs_no_right_to_write(hub: Hub, uploads: Uploads, model: Path) -> None:
    push(model, "org/merged")
    uploads.owners = ()
    write_model(model, llama_tensors(7), shards=2)
    report = push(model, "org/merged", create_pr=True)
    assert report.pull_request == f"{hub.url}/org/merged/discussions/1"
    assert arrived(hub, "org/merged", model, "refs/pr/1")
    assert not arrived(hub, "org/merged", model)
    uploads.owners = ("org",)
    (model / "README.md").write_text(CARD + "\nMore.\n")
    push(model, "org/merged", revision="refs/pr/1")  # what was forgotten goes into the same request
    assert arrived(hub, "org/merged", model, "refs/pr/1")
    with pytest.raises(PublishError, match="org/none: is not on the Hub yet, so nobody can open"):
        push(model, "org/none", create_pr=True)
    with pytest.raises(PublishError, match="a pull request goes to main"):
        push(model, "org/merged", create_pr=True, revision="v2")


def test_what_is_there_already_is_not_sent_again(hub: Hub, uploads: Uploads, model: Path) -> None:
    first = push(model, "org/merged")
    asked = len(hub.requests)
    again = push(model, "org/merged")
    assert (again.commit, again.bytes, uploads.commits) == (first.commit, 0, 1)
    assert not any(request.method == "PUT" for request in hub.requests[asked:])
    (model / "README.md").write_text(CARD + "\nSeen.\n")
    third = push(model, "org/merged", message="A word more")
    changed = [file.path for file in third.files if file.state != "unchanged"]
    assert (changed, third.message) == (["README.md"], "A word more")


def test_weights_of_an_earlier_push_are_not_left_beside_others(hub: Hub, model: Path) -> None:
    push(model, "org/merged")
    old = sorted(f.name for f in model.glob("model*.safetensors*"))
    for name in old:
        (model / name).unlink()
    write_model(model, moved(llama_tensors(0), 3))
    with pytest.raises(PublishError, match=r"holds weights that .* does not \(model-00001-of"):
        push(model, "org/merged")
    assert push(model, "org/merged", prune=True).removed == old
    assert arrived(hub, "org/merged", model)


def test_a_plan_names_everything_and_writes_nothing(hub: Hub, model: Path) -> None:
    (model / "answers.jsonl").write_text("{}\n")
    new = plan_push(model, "org/merged", private=True)
    assert (new.created, new.private, new.planned, new.commit) == (True, True, True, None)
    assert hub.repos == {}
    push(model, "org/merged")
    asked = len(hub.requests)
    plan = plan_push(model, "org/merged")
    assert all(request.method == "GET" for request in hub.requests[asked:])
    assert {f.path: f.size for f in plan.files} == {
        path: len(data) for path, data in files_of(model).items() if path != "answers.jsonl"
    }
    assert {f.path: f.how for f in plan.files} == {f.path: f.how for f in new.files}
    assert {f.state for f in plan.files} == {"unchanged"}
    assert [(left.path, left.reason) for left in plan.left_out] == [
        ("answers.jsonl", "no known part of a model")
    ]


def test_what_arrives_is_compared(hub: Hub, uploads: Uploads, model: Path) -> None:
    push(model, "org/merged")
    write_model(model, llama_tensors(7), shards=2)
    before = uploads._apply

    def spoilt(files: dict[str, bytes], key: str, said: dict[str, str]) -> None:
        before(files, key, said)
        if key == "lfsFile":
            files[said["path"]] = files[said["path"]][:-1] + b"\xff"

    uploads._apply = spoilt  # type: ignore[method-assign]
    with pytest.raises(CheckFailed, match=r"is not what was sent: model-0.* has another hash"):
        push(model, "org/merged")
