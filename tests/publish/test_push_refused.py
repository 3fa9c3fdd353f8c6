"""What is not sent, and which files of what is stay here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import llama_tensors, write_model
from loopback import Hub
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
    "no card": (
        lambda f: (f / "README.md").unlink(),
        "has no README.md; write one by hand",
    ),
    "no card of a merge": (
        lambda f: ((f / "README.md").unlink(), (f / "weightlens.json").write_text("{}")),
        "has no README.md; write one with: weightlens card",
    ),
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
