"""Linear algebra on single matrices: spectra, ranks, certified subspaces. Pure functions."""
