"""What the files of a tokenizer say: vocabulary, chat template, the tokens that end an answer."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightlens.errors import CheckpointError

TEMPLATE_FILE = "chat_template.jinja"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_GENERATION_CONFIG = "generation_config.json"
_CONFIG = "config.json"

_TOKENIZER_FILES = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges",
                    "chat_template", "spiece", "sentencepiece", "tekken",
                    "tokenization")  # fmt: skip

_MEANT_TO_DIFFER = {"transformers_version", "_from_model_config"}


def is_of_tokenizer(name: str) -> bool:
    """Whether a file beside the weights belongs to the tokenizer."""
    return name.startswith(_TOKENIZER_FILES) or name.endswith(".tiktoken")


def chat_template(folder: Path) -> str | None:
    """A model's chat template; None where it has none. Raises CheckpointError for one that is no
    text."""
    file = folder / TEMPLATE_FILE
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{file}: is no text ({error})") from error
    for name in (_TOKENIZER_CONFIG, "chat_template.json"):
        template = _json(folder / name).get("chat_template")
        if isinstance(template, list):  # several, by name
            named = [entry for entry in template if isinstance(entry, dict)]
            template = next((t.get("template") for t in named if t.get("name") == "default"), None)
        if isinstance(template, str):
            return template
    return None


def set_chat_template(folder: Path, template: str) -> None:
    """Puts a template in the place of the one that a folder has."""
    (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)
    file = folder / _TOKENIZER_CONFIG
    settings = _json(file)
    if "chat_template" in settings:
        settings.pop("chat_template")
        file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def commonest_template(folders: Sequence[Path]) -> str | None:
    """The template that most models have, of equally common ones the first; None without any."""
    found = [template.strip() for folder in folders if (template := chat_template(folder))]
    return Counter(found).most_common(1)[0][0] if found else None


def vocabulary(folder: Path) -> Mapping[str, int] | None:
    """Every token and its number, from tokenizer.json; None where that is not there. Raises
    CheckpointError where it is damaged."""
    file = folder / "tokenizer.json"
    words = _json(file)
    if not words:
        return None
    try:
        model = words["model"]["vocab"]
        if isinstance(model, list):  # unigram: [token, score], numbered in order
            found = {str(token): i for i, (token, _) in enumerate(model)}
        else:
            found = {str(token): int(i) for token, i in model.items()}
        added = words.get("added_tokens") or []
        return found | {str(token["content"]): int(token["id"]) for token in added}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: has no vocabulary that can be read ({error!r})") from error


def differences(first: tuple[str, Path], other: tuple[str, Path]) -> list[str]:
    """What two models say differently of how they are talked to, and where they stop.

    Models as (label, folder). One sentence each for chat template, end of text, generation config.
    """
    (name, folder), (other_name, other_folder) = first, other
    said = []
    ours, theirs = chat_template(folder), chat_template(other_folder)
    if theirs is not None and (ours or "").strip() != theirs.strip():
        what = "has none" if ours is None else "has another"
        said.append(f"chat template: {name}, whose files are copied, {what} than {other_name}")
    for file, key in ((_CONFIG, "eos_token_id"), (_GENERATION_CONFIG, "eos_token_id"),
                      (_TOKENIZER_CONFIG, "eos_token")):  # fmt: skip
        a, b = (_plain(_json(at / file).get(key)) for at in (folder, other_folder))
        if b is not None and a != b:
            said.append(
                f"{key} in {file} is {_short(a)} in {name}, whose files are copied, but "
                f"{_short(b)} in {other_name}: the merge may not stop where that one does"
            )
    mine, yours = _json(folder / _GENERATION_CONFIG), _json(other_folder / _GENERATION_CONFIG)
    differing = sorted(
        key
        for key in {*mine, *yours} - _MEANT_TO_DIFFER - {"eos_token_id"}
        if yours and mine.get(key) != yours.get(key)
    )
    if differing:
        said.append(
            f"{_GENERATION_CONFIG} of {name} is copied; {other_name} differs in "
            f"{', '.join(differing)}"
        )
    return said


def _plain(value: Any) -> Any:
    """A token without its settings; the only one of a list."""
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0])
    return value.get("content", value) if isinstance(value, dict) else value


def _short(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)


def _json(file: Path) -> dict[str, Any]:
    """A JSON mapping; empty where the file is missing or holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
