"""What the files of a tokenizer say: vocabulary and chat template."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightlens.errors import CheckpointError

TEMPLATE_FILE = "chat_template.jinja"
_TOKENIZER_CONFIG = "tokenizer_config.json"

_TOKENIZER_FILES = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges",
                    "chat_template", "spiece", "sentencepiece", "tekken",
                    "tokenization")  # fmt: skip


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
        template = read_mapping(folder / name).get("chat_template")
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
    settings = read_mapping(file)
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
    words = read_mapping(file)
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


def read_mapping(file: Path) -> dict[str, Any]:
    """A JSON mapping; empty where the file is missing or holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
