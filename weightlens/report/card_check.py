"""Whether a card's metadata is what the Hub takes: the rules of docs/model-card.md.

The Hub checks a card itself, on its server; these rules are drawn from its documentation, so that a
fault is told before the weights are on their way.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from weightlens.evaluate.written import nearest
from weightlens.hub.card_file import CARD
from weightlens.record import Record
from weightlens.report.licence_ids import LICENCE_IDS
from weightlens.report.licences import OTHER, UNKNOWN

RELATIONS = ("adapter", "finetune", "merge", "quantized")
_LINES = ("library_name", "license_name", "license_link", "pipeline_tag", "base_model_relation",
          "thumbnail")  # fmt: skip
_LISTS = ("base_model", "language", "datasets", "metrics", "tags")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*|code|multilingual")
_REQUIRED = {"task": ("type",), "dataset": ("type", "name")}
_TEXTS = {
    "task": ("type", "name"),
    "dataset": ("type", "name", "config", "split", "revision"),
    "metric": ("type", "name", "config"),
}


class CardReport(Record):
    """What came of writing or checking a card. problems: what the Hub would not take; licence: None
    where the card was only checked."""

    schema_: Literal["weightlens.card/1"] = Field(default="weightlens.card/1", alias="schema")
    card: str
    licence: str | None = None
    warnings: list[str] = Field(default_factory=list)
    problems: list[str]

    def lines(self, *, written: bool) -> list[str]:
        """The same to be read."""
        said = [f"warning: {warning}" for warning in self.warnings]
        said += [f"problem: {problem}" for problem in self.problems]
        end = "is written" if written else "is checked"
        fit = "" if self.problems else ", and its metadata is in order"
        return [*said, f"{self.card}: {end}{fit}"]


def check_card(folder: Path) -> list[str]:
    """What is wrong with the metadata of a folder's card, and with the files that it names; nothing
    where it may be published."""
    file = folder / CARD
    if not file.is_file():
        return [f"{file}: there is no card; weightlens card {folder} writes one"]
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = _block(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        return [f"{file}: its metadata cannot be read ({str(error).splitlines()[0]})"]
    if found is None:
        return [f"{file}: has no metadata: a block of YAML between two lines of --- on its top"]
    return [f"{CARD}: {problem}" for problem in _problems(found, folder)]


def _block(text: str) -> dict[str, Any] | None:
    """The metadata, found by the client's own pattern, which is the Hub's. Raises YAMLError, and
    ValueError for what is no mapping."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    match = REGEX_YAML_BLOCK.search(text)
    if match is None:
        return None
    held = yaml.safe_load(match[2])
    if held is not None and not isinstance(held, dict):
        raise ValueError("it is no mapping")
    return held or None


def _problems(held: Mapping[str, Any], folder: Path) -> Iterator[str]:
    yield from _licence(held, folder)
    for key in _LINES:
        if key in held and not _line(held[key]):
            yield f"{key} is to be one line of text"
    for key in _LISTS:
        if key in held and not all(_line(entry) for entry in _entries(held[key])):
            yield f"{key} is to be a text or a list of texts, without empty ones"
    yield from _models(held)
    for language in _entries(held.get("language", [])):
        if _line(language) and not _LANGUAGE.fullmatch(language):
            yield (
                f"language {language!r} is no code of ISO 639 (en, deu …), nor code or multilingual"
            )
    if "model-index" in held:
        yield from _index(held["model-index"])


def _licence(held: Mapping[str, Any], folder: Path) -> Iterator[str]:
    said = held.get("license")
    if said is None:
        yield "license is missing: say under which one the model may be used"
        return
    for licence in _entries(said):
        if licence == UNKNOWN:
            yield "license is unknown: give one (weightlens card DIR --license ID)"
        elif licence not in LICENCE_IDS:
            yield (
                f"license {licence!r} is not among the Hub's identifiers that weightlens knows"
                f"{nearest(str(licence), sorted(LICENCE_IDS))}"
            )
    if said == OTHER:
        for key in ("license_name", "license_link"):
            if not _line(held.get(key)):
                yield f"license is other, so {key} is to be there"
    link = held.get("license_link")
    if _line(link) and "://" not in str(link) and not (folder / str(link)).is_file():
        yield f"license_link names {link}, which is no address, and no file of the folder"


def _models(held: Mapping[str, Any]) -> Iterator[str]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    relation = held.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f"base_model_relation {relation!r} is none of {', '.join(RELATIONS)}"
    for key in ("base_model", "datasets"):
        for entry in _entries(held.get(key, [])):
            try:
                validate_repo_id(entry)
            except HFValidationError:
                yield f"{key} {entry!r} is no id of the Hub (owner/name)"


def _index(index: Any) -> Iterator[str]:
    """The structure of model-index, field by field."""
    if not isinstance(index, list):
        yield "model-index is to be a list"
        return
    for i, entry in enumerate(index):
        at = f"model-index[{i}]"
        if not isinstance(entry, dict) or not _line(entry.get("name")):
            yield f"{at}.name is to be a text"
        results = entry.get("results") if isinstance(entry, dict) else None
        if not isinstance(results, list):
            yield f"{at}.results is to be a list"
            continue
        for j, result in enumerate(results):
            yield from _result(result, f"{at}.results[{j}]")


def _result(result: Any, at: str) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f"{at} is to be a mapping"
        return
    for part, required in _REQUIRED.items():
        yield from _fields(result.get(part), f"{at}.{part}", required, _TEXTS[part])
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        yield f"{at}.metrics is to be a list of at least one"
        return
    for k, metric in enumerate(metrics):
        place = f"{at}.metrics[{k}]"
        yield from _fields(metric, place, ("type",), _TEXTS["metric"])
        if isinstance(metric, dict):
            if metric.get("value") is None:
                yield f"{place}.value is missing"
            if metric.get("verified") is True:
                yield f"{place}.verified is true, which only the Hub's own evaluation is"


def _fields(held: Any, at: str, required: tuple[str, ...], texts: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(held, dict):
        yield f"{at} is to be a mapping"
        return
    for key in texts:
        if key in required and not _line(held.get(key)):
            yield f"{at}.{key} is to be a text"
        elif held.get(key) is not None and not _line(held[key]):
            yield f"{at}.{key} is to be a text, or left out"


def _line(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\n" not in value


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
