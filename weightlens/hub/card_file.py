"""The card of a model on the Hub: its README.md, which no plan and no merge asks for."""

from pathlib import Path

from weightlens.hub.refusal import refusals

CARD = "README.md"


def card_file(repo: str, revision: str | None) -> Path | None:
    """A model's card, from huggingface_hub's cache or else from the Hub; None where neither hands
    it over. revision: a commit, a branch or a tag."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(repo, CARD, revision=revision)
    if isinstance(kept, str):
        return Path(kept)
    try:
        return Path(hf_hub_download(repo, CARD, revision=revision))
    except refusals():
        return None
