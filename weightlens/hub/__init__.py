"""From what a user calls a model to a folder on this machine, or to what the Hub tells of it."""

from weightlens.hub.cached import is_cached
from weightlens.hub.remote import Peeked, RemoteTensor, peek, peek_all
from weightlens.hub.resolve import Resolved, resolve

__all__ = ["Peeked", "RemoteTensor", "Resolved", "is_cached", "peek", "peek_all", "resolve"]
