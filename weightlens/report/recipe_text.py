"""What recorded recipes say, without reading their models again."""

from typing import Any

import yaml

from weightlens.merge.record import MergeReport


def recipes_of(record: MergeReport) -> list[str]:
    """The recipes of its steps and its own, in order."""
    return [*(step.recipe for step in record.steps.values()), record.recipe]


def methods_of(*recipes: str) -> list[str]:
    """The methods of all documents, in their order, each once; for the last resort "merge".

    A record is read long after its recipe was checked, so that nothing is refused here.
    """
    methods = [
        str(document["merge_method"])
        for recipe in recipes
        for document in _documents(recipe)
        if isinstance(document, dict) and document.get("merge_method")
    ]
    return list(dict.fromkeys(methods)) or ["merge"]


def _documents(recipe: str) -> list[Any]:
    try:
        return list(yaml.safe_load_all(recipe))
    except yaml.YAMLError:
        return []
