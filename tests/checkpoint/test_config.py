"""What changes in config.json when layers are stacked or the vocabulary is cut."""

import pytest

from weightlens.checkpoint.config import stacked_layers, with_changes

FOUR = {"num_hidden_layers": 4, "layer_types": ["a", "b", "c", "d"], "architectures": ["Llama"]}


def test_layers_taken_are_counted_and_lists_follow_them() -> None:
    assert stacked_layers(FOUR, [0, 1, 1, 3, 2]) == {
        "num_hidden_layers": 5, "layer_types": ["a", "b", "b", "d", "c"],
    }  # fmt: skip


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_layers", "n_layers"])
def test_the_number_of_layers_has_many_names(key: str) -> None:
    assert stacked_layers({key: 2}, [0, 1, 1]) == {key: 3}


def test_lists_that_only_happen_to_be_as_long_stay() -> None:
    config = {"n_layer": 1, "architectures": ["GPT2"], "eos_token_id": [2], "skip": [True]}
    assert stacked_layers(config, [0, 0]) == {"n_layer": 2, "skip": [True, True]}
    assert stacked_layers(FOUR | {"mlp_only_layers": [1]}, [0]).keys() == {
        "num_hidden_layers", "layer_types",
    }  # fmt: skip


def test_layers_of_another_deeper_model_leave_the_lists() -> None:
    assert stacked_layers(FOUR, [0, 7]) == {"num_hidden_layers": 2}


def test_the_language_model_of_several_parts_is_meant() -> None:
    config = {"text_config": FOUR, "vision_config": {"num_hidden_layers": 9}, "model_type": "x"}
    assert stacked_layers(config, [3]) == {"num_hidden_layers": 1, "layer_types": ["d"]}


def test_a_number_of_layers_that_had_its_default_is_written() -> None:
    """As of LLaVA, whose text_config says little more than what model it is."""
    assert stacked_layers({"hidden_size": 3}, [0]) == {"num_hidden_layers": 1}
    nested = {"text_config": {"model_type": "mistral"}, "model_type": "llava"}
    changed = with_changes(nested, stacked_layers(nested, [0, 1, 1]))
    assert changed["text_config"] == {"model_type": "mistral", "num_hidden_layers": 3}


def test_without_a_config_there_is_nothing_to_change() -> None:
    assert stacked_layers({}, [0]) == {}


def test_a_change_goes_where_the_key_stands() -> None:
    assert with_changes({"a": 1, "b": 2}, {"b": 3}) == {"a": 1, "b": 3}
    assert with_changes({"a": 1}, {"b": 3}) == {"a": 1, "b": 3}
    nested = {"text_config": {"b": 2}, "a": 1}
    assert with_changes(nested, {"b": 3, "a": 2}) == {"text_config": {"b": 3}, "a": 2}
    assert nested == {"text_config": {"b": 2}, "a": 1}


def test_a_key_that_stands_in_both_is_changed_in_both() -> None:
    assert with_changes({"b": 1, "text_config": {"b": 1}}, {"b": 2}) == {
        "b": 2, "text_config": {"b": 2},
    }  # fmt: skip


def test_a_key_of_the_language_model_that_had_its_default_is_written_there() -> None:
    """As Gemma 3, whose text_config has no vocab_size."""
    assert with_changes({"text_config": {"c": 1}}, {"vocab_size": 9}) == {
        "text_config": {"c": 1, "vocab_size": 9},
    }  # fmt: skip
