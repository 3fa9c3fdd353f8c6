"""The tokenizer of the output: whose files it has, how many rows the embeddings keep, and whether
tokens have to be aligned, which mergekit does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weightlens.checkpoint.adapter import is_adapter
from weightlens.checkpoint.chat import chat_template, commonest_template, vocabulary
from weightlens.merge.opening import Located
from weightlens.merge.resolution import Resolution


@dataclass(frozen=True)
class Words:
    """donor: the model whose tokenizer the output has, None for that of the config. rows: of the
    embeddings, None for as they are. template: a chat template in the place of the donor's.
    alignment: why tokens have to be aligned; empty where they have not."""

    donor: str | None = None
    rows: int | None = None
    template: str | None = None
    alignment: tuple[str, ...] = ()


def words_of(resolution: Resolution, located: Located) -> Words:
    """What the recipe asks for. Raises RecipeError for a chat template that is none."""
    recipe = resolution.recipe
    folders = {name: at.path for name, at in located.models.items()}
    template = _template(resolution, folders)
    wanted = recipe.wanted_tokenizer
    if wanted is None and recipe.embeddings == "tokenizer":
        wanted = "base"
    if wanted is None:
        return Words(template=template)
    reasons = []
    if recipe.tokenizer and recipe.tokenizer.tokens:
        reasons.append("tokenizer.tokens gives tokens embeddings of their own")
    if recipe.tokenizer and recipe.tokenizer.pad_to_multiple_of:
        reasons.append("tokenizer.pad_to_multiple_of adds rows")
    known = {name: vocabulary(folder) for name, folder in folders.items()}
    names = list(known)
    donor = wanted if wanted not in ("union", "base") else recipe.base_model or names[0]
    own = known.get(donor)
    reasons += [
        f"{name} has no tokenizer.json"
        for name, v in known.items()
        # an adapter without one has the base's tokens
        if v is None and (name == donor or not is_adapter(folders[name]))
    ]
    reasons += [
        f"the vocabularies of {donor} and {name} differ"
        for name, v in known.items()
        if v is not None and own is not None and v != own
    ]
    if own is not None and len(own) != max(own.values(), default=-1) + 1:
        reasons.append(f"the tokens of {donor} are not numbered without gaps")
    if reasons:
        return Words(donor, template=template, alignment=tuple(reasons))
    return Words(donor, rows=len(own or {}), template=template)


def _template(resolution: Resolution, folders: Mapping[str, Path]) -> str | None:
    asked = resolution.recipe.chat_template
    if not asked:
        return None
    if asked == "auto":
        return commonest_template(list(folders.values()))
    if "{" in asked:
        return asked
    if asked in folders:
        if (own := chat_template(folders[asked])) is None:
            raise resolution.written.error(("chat_template",), f"{asked} has none")
        return own
    from weightlens.merge.mergekit_bridge import chat_template as named_template
    from weightlens.merge.mergekit_bridge import chat_template_names

    found = named_template(asked)
    if found is None:
        known = ", ".join(["auto", *sorted(chat_template_names())])
        raise resolution.written.error(
            ("chat_template",), f"{asked!r} is no template; write its text, or one of {known}"
        )
    return found
