"""The metadata of a card: the YAML block on its top, from what is known of the models that went in.

Which fields there are, and what they may hold, is in docs/model-card.md.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from weightlens.checkpoint.config import read_config
from weightlens.merge.record import MergeReport
from weightlens.report.card_index import index_results
from weightlens.report.card_subject import CardSubject, CardTrial
from weightlens.report.licences import Licence
from weightlens.report.recipe_text import methods_of, recipes_of

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_GENERATES = "ForCausalLM"
_ORDER = ["base_model", "base_model_relation", "library_name", "pipeline_tag", "license",
          "license_name", "license_link", "language", "datasets", "tags",
          "model-index"]  # fmt: skip

OwnCards = Mapping[str, Mapping[str, Any] | None]
"""The metadata of the models that went in, by name; None where none was to be had."""


def metadata_of(
    subject: CardSubject, cards: OwnCards, licence: Licence, trials: Sequence[CardTrial]
) -> "ModelCardData":
    """As huggingface_hub holds it; fields of which nothing is known are left out."""
    from huggingface_hub import ModelCardData

    results = index_results(trials)
    return ModelCardData(
        base_model=_bases(subject) or None,
        base_model_relation="adapter" if subject.is_adapter else "merge",
        library_name="peft" if subject.is_adapter else "transformers",
        pipeline_tag=_pipeline(subject, cards),
        license=licence.id,
        license_name=licence.name,
        license_link=licence.link,
        language=_languages(cards) or None,
        datasets=_union(cards, "datasets") or None,
        tags=list(dict.fromkeys(_tags(subject))),
        model_name=subject.title if results else None,
        eval_results=results or None,
    )


def as_yaml(data: "ModelCardData") -> str:
    """The block as it stands in the card, between its lines of ---."""
    held = data.to_dict()
    ordered = {key: held[key] for key in _ORDER if key in held}
    return str(yaml.safe_dump(ordered | held, sort_keys=False, allow_unicode=True)).strip()


def _bases(subject: CardSubject) -> list[str]:
    """An adapter is loaded onto its base alone: of a merge, all that went in."""
    base = [subject.base] if subject.base else []
    found = base if subject.is_adapter else subject.ingredients
    return list(dict.fromkeys(one.repo for one in found if one.repo is not None))


def _pipeline(subject: CardSubject, cards: OwnCards) -> str | None:
    """text-generation for what generates text; else what the cards of all that went in say."""
    architectures = read_config(subject.folder).get("architectures") or []
    if subject.is_adapter or any(str(name).endswith(_GENERATES) for name in architectures):
        return "text-generation"
    said = {card.get("pipeline_tag") for card in cards.values() if card}
    (only,) = said if len(said) == 1 else (None,)
    return only if isinstance(only, str) else None


def _tags(subject: CardSubject) -> Iterator[str]:
    if subject.is_adapter:
        yield "lora"
    if isinstance(subject.record, MergeReport):
        yield "merge"
        if subject.record.engine == "mergekit":
            yield "mergekit"
    yield "weightlens"
    if isinstance(subject.record, MergeReport):
        yield from methods_of(*recipes_of(subject.record))


def _languages(cards: OwnCards) -> list[str]:
    return [code for code in _union(cards, "language") if _LANGUAGE.fullmatch(code)]


def _union(cards: OwnCards, key: str) -> list[str]:
    """What any of the cards lists, in their order."""
    found: dict[str, None] = {}
    for card in cards.values():
        held = (card or {}).get(key)
        for entry in held if isinstance(held, list) else [held]:
            if entry is False:  # Norwegian, which YAML reads as a no
                found["no"] = None
            elif isinstance(entry, str) and entry.strip():
                found[entry.strip()] = None
    return list(found)
