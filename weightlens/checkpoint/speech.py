"""How a model is talked to and where it stops, as the files beside its weights say: what a merge
will say of it, and what its sources do."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightlens.checkpoint.chat import chat_template, read_mapping

_TOKENIZER, _GENERATION, _CONFIG = (
    "tokenizer_config.json", "generation_config.json", "config.json",
)  # fmt: skip
_MEANT_TO_DIFFER = {"transformers_version", "_from_model_config", "eos_token_id"}


@dataclass(frozen=True)
class Speech:
    """label: the model; words_of: that whose tokenizer it has. template: the chat template;
    by_recipe: whether a recipe gives it. eos: of each file that says it, the token or number that
    ends a text. generation: what generation_config.json says."""

    label: str
    words_of: str
    template: str | None
    by_recipe: bool
    eos: Mapping[str, Any]
    generation: Mapping[str, Any]

    def with_words(self, donor: "Speech") -> "Speech":
        """The same with another's tokenizer and chat template."""
        eos = {**self.eos, _TOKENIZER: donor.eos[_TOKENIZER]}
        return replace(self, words_of=donor.words_of, template=donor.template, eos=eos)

    def with_template(self, template: str) -> "Speech":
        """The same with a chat template that a recipe gives."""
        return replace(self, template=template, by_recipe=True)

    def without_generation(self) -> "Speech":
        """The same without a generation config."""
        return replace(self, eos={**self.eos, _GENERATION: None}, generation={})


def speech_of(label: str, folder: Path) -> Speech:
    """Of one model. Raises CheckpointError for a damaged template."""
    generation = read_mapping(folder / _GENERATION)
    tokenizer = read_mapping(folder / _TOKENIZER)
    config = read_mapping(folder / _CONFIG)
    eos = {
        _CONFIG: _plain(config.get("eos_token_id")),
        _GENERATION: _plain(generation.get("eos_token_id")),
        _TOKENIZER: _plain(tokenizer.get("eos_token")),
    }
    return Speech(label, label, chat_template(folder), False, eos, generation)


def differences(merge: Speech, source: Speech) -> Iterator[str]:
    """What a merge will say otherwise than one of its sources: a sentence each for chat template,
    end of text, generation config."""
    if source.template is not None and (merge.template or "").strip() != source.template.strip():
        theirs = "one" if merge.template is None else "another"
        yield f"chat template: the merge has {_template(merge)}, {source.label} has {theirs}"
    for file in (_CONFIG, _GENERATION, _TOKENIZER):
        ours, theirs = merge.eos[file], source.eos[file]
        unsaid = file == _GENERATION and not merge.generation
        if not (unsaid or _stops(theirs) <= _stops(ours)):
            key = "eos_token" if file == _TOKENIZER else "eos_token_id"
            of = merge.words_of if file == _TOKENIZER else merge.label
            yield (
                f"{key} in {file} is {_short(ours)} in the merge, as in {of}, but {_short(theirs)} "
                f"in {source.label}: the merge may not stop where that one does"
            )
    yield from _generation(merge, source)


def contradiction(merge: Speech, words: Mapping[str, int]) -> str | None:
    """What to say where the tokenizer comes from another model than the config, and the two do not
    agree on the end of a text. words: the tokenizer's."""
    said = merge.eos[_GENERATION] if merge.eos[_GENERATION] is not None else merge.eos[_CONFIG]
    ends = words.get(str(merge.eos[_TOKENIZER]))
    if merge.words_of == merge.label or ends is None or said is None:
        return None
    if ends in (said if isinstance(said, list) else [said]):
        return None
    return (
        f"the tokenizer of {merge.words_of} ends a text with {_short(merge.eos[_TOKENIZER])}, "
        f"number {ends}, but {merge.label}, whose config is copied, stops at {_short(said)}: the "
        "merge may not stop"
    )


def _template(merge: Speech) -> str:
    if merge.by_recipe:
        return "the recipe's"
    return f"{'none, as' if merge.template is None else 'that of'} {merge.words_of}"


def _generation(merge: Speech, source: Speech) -> Iterator[str]:
    if not merge.generation or not source.generation:
        return
    differing = sorted(
        key
        for key in {*merge.generation, *source.generation} - _MEANT_TO_DIFFER
        if merge.generation.get(key) != source.generation.get(key)
    )
    if differing:
        yield (
            f"{_GENERATION} of {merge.label} is copied; {source.label} differs in "
            f"{', '.join(differing)}"
        )


def _stops(eos: Any) -> set[str]:
    """Where a text ends, in whatever form it is said."""
    every = eos if isinstance(eos, list) else [eos]
    return {json.dumps(one) for one in every if one is not None}


def _plain(value: Any) -> Any:
    """A token without its settings; the only one of a list."""
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0])
    return value.get("content", value) if isinstance(value, dict) else value


def _short(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)
