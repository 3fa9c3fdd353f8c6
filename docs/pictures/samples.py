"""What the pictures are computed from: small matrices of a fixed seed, and the embedded models."""

from functools import cache

import torch
from torch import Tensor

from weightlens import measure_overlap
from weightlens.checkpoint.model import open_model
from weightlens.delta import Delta
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.spectral.basis import random_subspace
from weightlens.survey.result import OverlapReport

FULL, LORA = "safe-full", "safe-lora"


def generator(seed: int) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    """Independent standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def frame(d: int, k: int, *, seed: int) -> Tensor:
    """k random orthonormal columns of length d, in float64."""
    return torch.linalg.qr(random_subspace(d, d, k, generator(seed)).u.double()).Q


def with_spectrum(m: int, n: int, sigma: Tensor, *, seed: int) -> Tensor:
    """A random m × n matrix with these singular values."""
    u, v = frame(m, len(sigma), seed=seed), frame(n, len(sigma), seed=seed + 1)
    return (u * sigma.double()) @ v.T


def decay(d: int, *, power: float = 1.0, offset: float = 3.0) -> Tensor:
    """Singular values that fall like those of a trained matrix: (offset / (i + offset))^power."""
    return (offset / (torch.arange(d, dtype=torch.float64) + offset)) ** power


@cache
def base_matrix(name: str) -> Tensor:
    """A matrix of the embedded base: `layers.0.mlp.down_proj`."""
    weights = open_model(SHIPPED / "base").weights
    assert weights is not None
    return weights.read(f"model.{name}.weight")


@cache
def tuned_delta(model: str, name: str) -> Delta:
    """The delta of an embedded fine-tune in one matrix, factored where it is an adapter."""
    weights = open_model(SHIPPED / "base").weights
    assert weights is not None
    found = open_model(SHIPPED / model, base=weights).delta(
        f"model.{name}.weight", weights, base_matrix(name)
    )
    assert found is not None
    return found


@cache
def overlap_report() -> OverlapReport:
    """Both embedded fine-tunes, all metrics."""
    paths = [str(SHIPPED / model) for model in (FULL, LORA)]
    return measure_overlap(str(SHIPPED / "base"), paths, more=True)
