"""What the files of a tokenizer say: chat template and vocabulary."""

import json
from pathlib import Path

import pytest
from worded import settle, words, write_tokenizer

from weightlens.checkpoint.chat import (
    chat_template,
    commonest_template,
    is_of_tokenizer,
    set_chat_template,
    vocabulary,
)
from weightlens.errors import CheckpointError

NAMED = [{"name": "tool_use", "template": "{{ tools }}"},
         {"name": "default", "template": "{{ named }}"}]  # fmt: skip


def test_the_template_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """Of newer files before older ones; of several, the one called default."""
    assert chat_template(tmp_path) is None
    settle(tmp_path / "chat_template.json", chat_template="{{ processor }}")
    assert chat_template(tmp_path) == "{{ processor }}"
    settle(tmp_path / "tokenizer_config.json", chat_template=NAMED)
    assert chat_template(tmp_path) == "{{ named }}"
    settle(tmp_path / "tokenizer_config.json", chat_template="{{ single }}")
    assert chat_template(tmp_path) == "{{ single }}"
    (tmp_path / "chat_template.jinja").write_text("{{ file }}")
    assert chat_template(tmp_path) == "{{ file }}"


@pytest.mark.parametrize("odd", [["x"], [{"name": "default"}], 3, {"default": "x"}, [None]])
def test_what_is_no_template_is_none(tmp_path: Path, odd: object) -> None:
    settle(tmp_path / "tokenizer_config.json", chat_template=odd)
    assert chat_template(tmp_path) is None


def test_a_template_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja: is no text"):
        chat_template(tmp_path)


def test_a_template_that_is_set_is_the_one_found(tmp_path: Path) -> None:
    settle(tmp_path / "tokenizer_config.json", chat_template=NAMED, eos_token="</s>")
    settle(tmp_path / "chat_template.json", chat_template="{{ processor }}")
    set_chat_template(tmp_path, "{{ ü }}")
    assert chat_template(tmp_path) == "{{ ü }}"
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"eos_token": "</s>"}
    assert {f.name for f in tmp_path.iterdir()} == {"tokenizer_config.json", "chat_template.jinja"}


def test_the_commonest_template_wins_and_the_first_of_equals(tmp_path: Path) -> None:
    folders = [tmp_path / str(i) for i in range(5)]
    for folder, text in zip(folders, ("{{ a }}", "{{ b }}", None, "{{ a }}\n", "{{ b }}"),
                            strict=True):  # fmt: skip
        folder.mkdir()
        if text:
            (folder / "chat_template.jinja").write_text(text)
    assert commonest_template(folders) == "{{ a }}"
    assert commonest_template(folders[1:]) == "{{ b }}"
    assert commonest_template(folders[2:3]) is None


def test_the_vocabulary_has_the_added_tokens(tmp_path: Path) -> None:
    assert vocabulary(tmp_path) is None
    write_tokenizer(tmp_path, {"<unk>": 0, "w": 1})
    assert vocabulary(tmp_path) == {"<unk>": 0, "w": 1}
    settle(tmp_path / "tokenizer.json", added_tokens=[{"content": "</s>", "id": 2}])
    assert vocabulary(tmp_path) == {"<unk>": 0, "w": 1, "</s>": 2}


def test_unigram_pieces_are_numbered_in_order(tmp_path: Path) -> None:
    settle(tmp_path / "tokenizer.json", model={"vocab": [["<unk>", 0.0], ["a", -1.5]]})
    assert vocabulary(tmp_path) == {"<unk>": 0, "a": 1}


def test_the_vocabulary_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path, {word: i for i, word in enumerate(words(9))})
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(tmp_path)
    assert vocabulary(tmp_path) == tokenizer.get_vocab()


@pytest.mark.parametrize(
    "odd",
    [{"model": "x"}, {"model": {}}, {"model": {"vocab": 3}}, {"model": {"vocab": ["x"]}},
     {"model": {"vocab": {"x": None}}}, {"model": {"vocab": {}}, "added_tokens": [{"id": 1}]},
     {"model": {"vocab": {}}, "added_tokens": 3}],
)  # fmt: skip
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, odd: dict[str, object]) -> None:
    settle(tmp_path / "tokenizer.json", **odd)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: has no vocabulary that can be"):
        vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("name", "belongs"),
    [("tokenizer.json", True), ("tokenizer_config.json", True), ("vocab.txt", True),
     ("merges.txt", True), ("special_tokens_map.json", True), ("added_tokens.json", True),
     ("chat_template.jinja", True), ("spiece.model", True), ("qwen.tiktoken", True),
     ("tokenizer.model", True), ("config.json", False), ("generation_config.json", False),
     ("modeling_x.py", False), ("preprocessor_config.json", False)],
)  # fmt: skip
def test_which_files_belong_to_the_tokenizer(name: str, belongs: bool) -> None:
    assert is_of_tokenizer(name) is belongs
