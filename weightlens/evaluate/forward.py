"""What the forward of a transformers model takes, and what it calls its key-value cache."""

import inspect
from typing import Any


def takes(model: Any) -> frozenset[str]:
    """Names of the arguments of a forward; not PEFT's, whose wrapping takes anything."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(bare.forward).parameters)


def cache_name(model: Any) -> str:
    """The name under which a cache is given to a model and comes back: transformers calls it
    `cache` where it called it `past_key_values` before."""
    return "cache" if "cache" in takes(model) else "past_key_values"
