"""What a merge will say otherwise than its sources of how it is talked to, and where it stops."""

from pathlib import Path

import pytest
from worded import settle, write_tokenizer

from weightlens.checkpoint.chat import vocabulary
from weightlens.checkpoint.speech import contradiction, differences, speech_of


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two models that say the same."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        settle(tmp_path / name / "config.json", eos_token_id=1)
        settle(tmp_path / name / "generation_config.json", eos_token_id=[1], top_p=0.9)
        write_tokenizer(tmp_path / name, {"<unk>": 0})
        settle(tmp_path / name / "tokenizer_config.json", eos_token="</s>", chat_template="{{ x }}")
    return tmp_path / "one", tmp_path / "two"


def told(pair: tuple[Path, Path]) -> list[str]:
    one, two = (speech_of(folder.name, folder) for folder in pair)
    return list(differences(one, two))


def test_models_that_say_the_same_do_not_differ(pair: tuple[Path, Path]) -> None:
    assert told(pair) == []
    (pair[1] / "generation_config.json").unlink()
    assert told(pair) == []  # the other says nothing of it


def test_the_same_in_another_form_is_no_difference(pair: tuple[Path, Path]) -> None:
    settle(pair[1] / "config.json", eos_token_id=[1])
    settle(pair[1] / "generation_config.json", transformers_version="9")
    written = {"content": "</s>", "lstrip": False, "__type": "AddedToken"}
    settle(pair[1] / "tokenizer_config.json", eos_token=written, chat_template=None)
    (pair[1] / "chat_template.jinja").write_text("{{ x }}\n")
    assert told(pair) == []


def test_whoever_stops_at_more_stops_there_too(pair: tuple[Path, Path]) -> None:
    settle(pair[0] / "config.json", eos_token_id=[2, 1])
    settle(pair[1] / "config.json", eos_token_id=[1, 2])
    assert told(pair) == []
    settle(pair[1] / "config.json", eos_token_id=2)
    assert told(pair) == []
    settle(pair[0] / "config.json", eos_token_id=1)
    assert len(told(pair)) == 1


def test_each_difference_is_one_sentence(pair: tuple[Path, Path]) -> None:
    settle(pair[0] / "generation_config.json", eos_token_id=None)
    settle(pair[1] / "config.json", eos_token_id=[1, 2])
    settle(pair[1] / "generation_config.json", top_p=0.8, top_k=5)
    settle(pair[1] / "tokenizer_config.json", eos_token="<end>", chat_template="{{ y }}")
    assert told(pair) == [
        "chat template: the merge has that of one, two has another",
        "eos_token_id in config.json is 1 in the merge, as in one, but [1, 2] in two: the merge "
        "may not stop where that one does",
        "eos_token_id in generation_config.json is missing in the merge, as in one, but 1 in two: "
        "the merge may not stop where that one does",
        'eos_token in tokenizer_config.json is "</s>" in the merge, as in one, but "<end>" in two: '
        "the merge may not stop where that one does",
        "generation_config.json of one is copied; two differs in top_k, top_p",
    ]


def test_a_template_that_only_the_other_has_is_told(pair: tuple[Path, Path]) -> None:
    settle(pair[0] / "tokenizer_config.json", chat_template=None)
    assert told(pair) == ["chat template: the merge has none, as one, two has one"]


def test_a_tokenizer_of_another_model_is_that_of_the_merge(pair: tuple[Path, Path]) -> None:
    """What is compared, and named, is where each file really comes from."""
    settle(pair[1] / "tokenizer_config.json", eos_token="<end>", chat_template="{{ y }}")
    settle(pair[1] / "tokenizer.json", added_tokens=[{"content": "<end>", "id": 5}])
    one, two = (speech_of(folder.name, folder) for folder in pair)
    merge = one.with_words(two)
    assert list(differences(merge, two)) == []
    assert list(differences(merge, one)) == [
        "chat template: the merge has that of two, one has another",
        'eos_token in tokenizer_config.json is "<end>" in the merge, as in two, but "</s>" in one: '
        "the merge may not stop where that one does",
    ]
    assert contradiction(merge, vocabulary(pair[1]) or {}) == (
        'the tokenizer of two ends a text with "<end>", number 5, but one, whose config is copied, '
        "stops at 1: the merge may not stop"
    )
    settle(pair[0] / "generation_config.json", eos_token_id=[1, 5])
    assert contradiction(speech_of("one", pair[0]).with_words(two), {"<end>": 5}) is None


def test_a_template_of_the_recipe_is_no_models(pair: tuple[Path, Path]) -> None:
    one, two = (speech_of(folder.name, folder) for folder in pair)
    said = "chat template: the merge has the recipe's, two has another"
    assert list(differences(one.with_template("{{ z }}"), two)) == [said]


def test_a_generation_config_that_is_not_written_is_not_compared(pair: tuple[Path, Path]) -> None:
    settle(pair[1] / "generation_config.json", eos_token_id=7, top_p=0.1)
    one, two = (speech_of(folder.name, folder) for folder in pair)
    assert list(differences(one.without_generation(), two)) == []
