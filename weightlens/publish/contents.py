"""Which files of a folder are published.

The rule: only what belongs to a model. That is its weights, as its index or its adapter names them;
config, tokenizer, chat templates and the code that config.json asks for, by the names that
transformers and PEFT give them; weightlens.json and the recipe; README.md with the pictures in it;
licences and notices. Everything else stays here, whatever it is, and is listed: results of
evaluations and answers to private questions are never sent, wherever in the folder they lie.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

CARD = "README.md"

_OF_A_MODEL = (
    "config.json", "*_config.json", "params.json", "tokenizer.json", "tokenizer*.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "spiece.model", "sentencepiece*.model", "*.tiktoken", "tekken.json", "chat_template.json",
    "chat_template.jinja", "modeling_*.py", "configuration_*.py", "tokenization_*.py",
    "*processing_*.py", "weightlens.json", "recipe.yaml", "recipe.yml", "mergekit_config.yml",
    CARD, "LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*", "CITATION.cff",
)  # fmt: skip
_PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif")
_PICTURE = re.compile(
    r"!\[[^\]]*\]\(\s*<?([^)\s>]+)|<(?:img|source)\b[^>]*\bsrc(?:set)?=[\"']([^\"'\s]+)"
)
_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True)
class Contents:
    """What of a folder goes and what stays. sent: files by path in the repo; left_out: why each
    other file or folder stays."""

    sent: dict[str, Path]
    left_out: dict[str, str]


def contents(folder: Path, weights: Collection[str]) -> Contents:
    """Sorts a folder's files. weights: the names of those that hold its weights."""
    pictures = _pictures(folder)
    sent: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for file in _walk(folder, pictures):
        path = file.relative_to(folder).as_posix()
        reason = None if path in weights else _reason(file, path, pictures)
        if reason is None:
            sent[path] = file
        else:
            left_out[path + "/" * file.is_dir()] = reason
    return Contents(sent, left_out)


def _walk(folder: Path, pictures: Collection[str]) -> Iterator[Path]:
    """Files by name, and folders that nothing of can be sent from as they are."""
    for entry in sorted(folder.iterdir()):
        inside = {p for p in pictures if p.startswith(entry.name + "/")}
        if entry.is_dir() and (entry.name == _TEMPLATES or inside):
            yield from (file for file in sorted(entry.rglob("*")) if file.is_file())
        else:
            yield entry


def _reason(file: Path, path: str, pictures: Collection[str]) -> str | None:
    """Why a file that holds no weights stays; None where it goes."""
    name = file.name
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden"
    if name.endswith(".partial"):
        return "unfinished"
    if file.is_dir():
        return "a folder that is no part of a model"
    if path in pictures:
        return None
    if path.startswith(_TEMPLATES + "/") and name.endswith(".jinja"):
        return None
    if name.endswith((".safetensors", ".safetensors.index.json", ".bin", ".pt", ".pth", ".gguf")):
        return "other weights than those that were checked"
    if "/" not in path and any(fnmatchcase(name, pattern) for pattern in _OF_A_MODEL):
        return None if not _is_a_result(file) else "a result, not a part of the model"
    return "no known part of a model"


def _is_a_result(file: Path) -> bool:
    """Whether a JSON file is one of our own results that only has the name of a config."""
    if file.suffix != ".json" or file.name == "weightlens.json" or file.stat().st_size > 1e8:
        return False
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    schema = held.get("schema") if isinstance(held, dict) else None
    return isinstance(schema, str) and schema.startswith("weightlens.")


def _pictures(folder: Path) -> set[str]:
    """Paths of the pictures that the card shows out of its own folder."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    named = {unquote(md or html).removeprefix("./") for md, html in _PICTURE.findall(text)}
    return {
        path
        for path in named
        if path.lower().endswith(_PICTURES)
        and ".." not in path.split("/")
        and not path.startswith(("/", "."))
        and (folder / path).is_file()
    }
