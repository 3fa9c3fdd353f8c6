"""Where questions come from: files of several formats, on this machine or on the Hub."""

from weightlens.evaluate.data.sources import Found, Sources

__all__ = ["Found", "Sources"]
