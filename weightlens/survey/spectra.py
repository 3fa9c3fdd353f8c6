"""What `inspect --spectra` adds: norms, ranks, and what is broken, tensor by tensor."""

import torch

from weightlens.checkpoint.model import base_weights
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.spectral.gram import singular_values
from weightlens.spectral.rank import effective_rank, stable_rank
from weightlens.survey.inspect import TensorSpectrum
from weightlens.survey.opened import ModelLike, opened
from weightlens.survey.work import Progress, Step, silent


def measure_spectra(
    model: ModelLike,
    *,
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    progress: Progress = silent,
) -> list[TensorSpectrum]:
    """Reads every floating-point tensor; spectra of the matrices that the selection holds.

    Raises ModelNotFound, CheckpointError.
    """
    weights = base_weights(opened(model))
    names = [n for n, info in weights.infos.items() if info.dtype.is_floating_point]
    found, read = [], 0
    for done, name in enumerate(names):
        progress(Step(done, len(names), name, bytes=read))
        wanted = selection.reason_to_skip(name, weights.infos[name]) is None
        found.append(_spectrum(weights, name, wanted))
        read += weights.infos[name].nbytes
    progress(Step(len(names), len(names), "", bytes=read))
    return found


def _spectrum(weights: Weights, name: str, wanted: bool) -> TensorSpectrum:
    tensor = weights.exact(name).float()
    nan, inf = int(torch.isnan(tensor).sum()), int(torch.isinf(tensor).sum())
    finite = nan == inf == 0
    matrix = tensor.ndim == 2
    sigma = singular_values(tensor) if finite and matrix and wanted else None
    shown = sigma is not None and bool(sigma.any())
    return TensorSpectrum(
        name=name,
        nan=nan,
        inf=inf,
        dead_rows=int((tensor == 0).all(dim=1).sum()) if matrix else None,
        norm=float(torch.linalg.vector_norm(tensor, dtype=torch.float64)) if finite else None,
        spectral_norm=float(sigma[0]) if sigma is not None else None,
        stable_rank=stable_rank(sigma) if sigma is not None and shown else None,
        effective_rank=effective_rank(sigma) if sigma is not None and shown else None,
    )
