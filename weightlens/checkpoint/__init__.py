"""Checkpoints on disk and in memory: names, shapes, tensors one at a time, and writing."""
