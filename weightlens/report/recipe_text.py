"""What a recorded recipe says, without reading its models again."""

from typing import Any

import yaml


def methods_of(recipe: str) -> list[str]:
    """The methods of a recipe's documents, in their order, each once; for the last resort "merge".

    A record is read long after its recipe was checked, so that nothing is refused here.
    """
    try:
        documents: list[Any] = list(yaml.safe_load_all(recipe))
    except yaml.YAMLError:
        documents = []
    methods = [
        str(document["merge_method"])
        for document in documents
        if isinstance(document, dict) and "merge_method" in document
    ]
    return list(dict.fromkeys(methods)) or ["merge"]
