"""From what a user calls a model to a folder on this machine."""

from weightlens.hub.resolve import Resolved, resolve

__all__ = ["Resolved", "resolve"]
