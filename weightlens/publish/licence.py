"""Whether a model card says under which licence the model goes out.

The rules are the Hub's for the metadata of model cards: `license` is one of its identifiers, or
`other` with a `license_name` beside it and a `license_link` to a file of the repo or a page.
"""

from pathlib import Path
from typing import Any

from weightlens.checkpoint.output import PROVENANCE_FILE
from weightlens.errors import PublishError
from weightlens.publish.contents import CARD

_NONE = {"", "unknown", "none", "null", "tbd"}


def check_licence(folder: Path) -> None:
    """Raises PublishError without a card, or with one whose metadata names no licence."""
    card = folder / CARD
    if not card.is_file():
        made = (folder / PROVENANCE_FILE).is_file()
        how = (
            f"with: weightlens card {folder}" if made else "by hand, with a licence in its metadata"
        )
        raise PublishError(f"{folder}: has no {CARD}; write one {how}")
    data = _metadata(card)
    named = data.get("license")
    names = [str(n).strip() for n in (named if isinstance(named, list) else [named]) if n]
    if not names or any(name.lower() in _NONE for name in names):
        said = f"says licence {names[0]}" if names else "names no licence"
        raise PublishError(
            f"{card}: its metadata {said}; give one that the sources' licences allow (weightlens "
            f"card {folder} --license ID), or put `license: …` between the --- lines at its top"
        )
    missing = [k for k in ("license_name", "license_link") if not data.get(k)]
    if "other" in names and missing:
        raise PublishError(f"{card}: has license: other, and so needs {' and '.join(missing)} too")
    link = str(data.get("license_link") or "")
    if link and "://" not in link and not (folder / link).is_file():
        raise PublishError(f"{card}: its license_link is {link}, which is not in {folder}")


def _metadata(card: Path) -> dict[str, Any]:
    import yaml
    from huggingface_hub import metadata_load

    try:
        data = metadata_load(card)
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise PublishError(f"{card}: its metadata is no YAML ({reason})") from error
    return data or {}
