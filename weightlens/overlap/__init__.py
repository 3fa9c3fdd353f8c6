"""How a delta sits relative to its base: one metric a file. Pure functions on bases and deltas."""
