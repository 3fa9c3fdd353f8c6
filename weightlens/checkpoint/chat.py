"""What the files of a tokenizer say: vocabulary, chat template, the tokens that end an answer."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TEMPLATE_FILE = "chat_template.jinja"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_GENERATION_CONFIG = "generation_config.json"
_CONFIG = "config.json"

_TOKENIZER_FILES = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges",
                    "chat_template", "spiece", "sentencepiece")  # fmt: skip

_MEANT_TO_DIFFER = {"transformers_version", "_from_model_config"}


def is_of_tokenizer(name: str) -> bool:
    """Whether a file beside the weights belongs to the tokenizer."""
    return name.startswith(_TOKENIZER_FILES) or name.endswith(".tiktoken")


def chat_template(folder: Path) -> str | None:
    """A model's chat template; None where it has none."""
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in (_TOKENIZER_CONFIG, "chat_template.json"):
        template = _json(folder / name).get("chat_template")
        if isinstance(template, list):  # several, by name
            template = next(
                (t.get("template") for t in template if t.get("name") == "default"), None
            )
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
    """Every token and its number, from tokenizer.json; None where that is not there."""
    words = _json(folder / "tokenizer.json")
    model = words.get("model", {}).get("vocab")
    if isinstance(model, list):  # unigram: [token, score], numbered in order
        found = {str(token): i for i, (token, _) in enumerate(model)}
    elif isinstance(model, dict):
        found = dict(model)
    else:
        return None
    added = words.get("added_tokens") or []
    return found | {str(token["content"]): int(token["id"]) for token in added}


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
        a, b = _json(folder / file).get(key), _json(other_folder / file).get(key)
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


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("content", value)
    return "missing" if value is None else json.dumps(value, ensure_ascii=False)


def _json(file: Path) -> dict[str, Any]:
    """A JSON mapping; empty where the file is missing or holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
