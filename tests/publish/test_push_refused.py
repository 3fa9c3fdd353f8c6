"""What is not sent, and what is said where the Hub does not take it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import llama_tensors, write_model
from huggingface_hub import constants
from loopback import CUT, Answer, Asked, Hub, answer_json
from loopback_uploads import Uploads
from published import CARD

from weightlens.checkpoint.partial import MARKER
from weightlens.errors import PublishError
from weightlens.publish.pushing import plan_push, push


def rewritten(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))


def first_shard(folder: Path) -> Path:
    return min(folder.glob("model-*.safetensors"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard is missing": (lambda f: first_shard(f).unlink(), "is missing; the index names it"),
    "a shard is short": (
        lambda f: rewritten(first_shard(f), lambda raw: raw[:-1]),
        "truncated: .* its header says .*; nothing was sent",
    ),
    "a shard has more": (
        lambda f: rewritten(first_shard(f), lambda raw: raw + b"\0"),
        "followed by stray bytes",
    ),
    "the index is missing": (
        lambda f: (f / "model.safetensors.index.json").unlink(),
        "several safetensors files .* and no index",
    ),
    "still being filled": (lambda f: (f / MARKER).touch(), "is an unfinished merge; run the same"),
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "no weights": (
        lambda f: [file.unlink() for file in f.glob("model*")],
        "no safetensors weights in this folder",
    ),
    "no card": (lambda f: (f / "README.md").unlink(), "has no README.md; write one with: weightl"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_not_sent(hub: Hub, model: Path, damage: str) -> None:
    spoil, said = DAMAGE[damage]
    spoil(model)
    for push_or_plan in (push, plan_push):
        with pytest.raises(PublishError, match=said):
            push_or_plan(model, "org/merged")
    assert hub.requests == []


def test_a_merge_under_way_is_not_sent(hub: Hub, model: Path) -> None:
    partial = model.rename(model.with_name("out.partial"))
    with pytest.raises(PublishError, match=r"out: is not finished; .* goes on from .*out\.partial"):
        push(model.with_name("out"), "org/merged")
    with pytest.raises(PublishError, match=r"out\.partial: is an unfinished merge"):
        push(partial, "org/merged")
    with pytest.raises(PublishError, match="no such folder"):
        push(model.with_name("none"), "org/merged")


def test_half_an_adapter_is_not_sent(hub: Hub, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(PublishError, match=r"is an adapter without adapter_model\.safetensors"):
        push(adapter, "org/lora")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("tags: [merge]", r"README\.md: its metadata names no licence"),
        ("license:", "names no licence"),
        ("license: unknown", "says licence unknown"),
        ("license: [unknown]", "says licence unknown"),
        ("license: other", "needs license_name and license_link too"),
        ("license: other\nlicense_name: ours\nlicense_link: LICENSE", "LICENSE, which is not in"),
        ("license: [", "is no YAML"),
    ],
)
def test_a_card_without_a_licence_is_refused(
    hub: Hub, model: Path, metadata: str, said: str
) -> None:
    (model / "README.md").write_text(f"---\n{metadata}\n---\n# A merge\n")
    with pytest.raises(PublishError, match=said):
        push(model, "org/merged")
    assert hub.requests == []


def test_a_card_without_metadata_is_refused(hub: Hub, model: Path) -> None:
    (model / "README.md").write_text("# A merge\n")
    with pytest.raises(PublishError, match="names no licence"):
        push(model, "org/merged")


SECRETS = {
    "a token of the Hugging Face Hub": "hf_" + "aB3dE" * 7,
    "a token of GitHub": "ghp_" + "a1B2" * 9,
    "a key of AWS": "AKIA" + "ABCD2345" * 2,
    "an API key": "sk-proj-" + "a1B2-c3_" * 5,
    "a token of Slack": "xoxb-" + "123456789012-" + "aB3dE" * 4,
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("name", ["README.md", "tokenizer_config.json", "modeling_own.py"])
def test_a_secret_is_found_and_never_shown(hub: Hub, model: Path, kind: str, name: str) -> None:
    secret = SECRETS[kind]
    file = model / name
    file.write_text((CARD if name == "README.md" else "") + f'\n\nkey = "{secret}"\n')
    line = file.read_text().splitlines().index(f'key = "{secret}"') + 1
    with pytest.raises(PublishError, match=f"{name}:{line}: {kind}") as refused:
        push(model, "org/merged")
    assert secret not in str(refused.value) and secret[:12] not in str(refused.value)
    assert hub.requests == []


def test_words_that_look_like_secrets_are_none(hub: Hub, model: Path) -> None:
    words = "task-oriented-dialogue-state-tracking, sk-learn-like-estimators-of-all-kinds, hf_hub, "
    (model / "README.md").write_text(CARD + words + "AKIAKIAKI, risk-1234, BEGIN PUBLIC KEY\n")
    assert push(model, "org/merged").commit


def test_the_token_in_use_and_a_secret_in_a_header_are_found(hub: Hub, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = write_model(tmp_path / "model", llama_tensors(0))
    (model / "README.md").write_text(CARD + f"\nexport HF_TOKEN={Hub.TOKEN}\n")
    with pytest.raises(PublishError, match=r"README\.md:7: the token that you are logged in with"):
        push(model, "org/merged")
    (model / "README.md").write_text(CARD)
    metadata = {"format": "pt", "command": f"HF_TOKEN={SECRETS['a token of the Hugging Face Hub']}"}
    save_file(llama_tensors(0), model / "model.safetensors", metadata=metadata)
    with pytest.raises(
        PublishError, match=r"model\.safetensors:1: a token of the Hugging Face Hub"
    ):
        push(model, "org/merged")


def test_only_what_belongs_to_a_model_is_sent(hub: Hub, model: Path) -> None:
    here = {
        "tokenizer.json": "{}", "chat_template.jinja": "",
        "LICENSE": "", "recipe.yaml": "", "heat map.png": "", "pictures/curve.svg": "",
        "additional_chat_templates/tool.jinja": "",
    }  # fmt: skip
    stays = {
        ".env": "hidden", ".git/config": "hidden", ".weightlens-journal": "hidden",
        "weights.partial": "unfinished", "eval.json": "no known part of a model",
        "answers.jsonl": "no known part of a model", "own_config.json": "a result, not a part",
        "__pycache__/a.pyc": "a folder", "answers/org.jsonl": "a folder", "secret.png": "no known",
        "pytorch_model.bin": "other weights", "consolidated.safetensors": "other weights",
        "pictures/other.svg": "no known part",
    }  # fmt: skip
    for path in [*here, *stays]:
        (model / path).parent.mkdir(exist_ok=True)
        (model / path).write_text(here.get(path, "private"))
    (model / "own_config.json").write_text(json.dumps({"schema": "weightlens.eval/1"}))
    pictures = "![h](<heat map.png>) <img src='pictures/curve.svg'> ![](../secret.png) ![](.env)"
    (model / "README.md").write_text(CARD + pictures.replace("<heat map.png>", "heat%20map.png"))
    report = push(model, "org/merged")
    left = {left.path.rstrip("/"): left.reason for left in report.left_out}
    for path, reason in stays.items():
        assert left.get(path, left.get(path.partition("/")[0], "")).startswith(reason), path
    there = hub.repos["org/merged"].files
    assert set(here) <= set(there)
    assert not any(b"private" in data for data in there.values())


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
