"""Walks checkpoints tensor by tensor and measures what it finds."""
