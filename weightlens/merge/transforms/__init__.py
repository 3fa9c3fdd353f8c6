"""Transforms: what is done to each source's delta, in order, before the method."""

from weightlens.merge.transforms.strip import Strip

__all__ = ["Strip"]
