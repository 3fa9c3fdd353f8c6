"""Pictures of a delta by itself: size, rank, rounding, noise."""

import math

import samples
import style
import torch
from matplotlib.figure import Figure
from torch import Tensor

from weightlens.overlap.rounding import rounding_energy
from weightlens.spectral.gram import singular_values
from weightlens.spectral.noise import (
    hard_threshold,
    rank_above,
    rounding_floor,
    tracy_widom_edge,
)
from weightlens.spectral.rank import effective_rank, participation_ratio, stable_rank


def relative_norm() -> Figure:
    """‖Δ‖ / ‖W‖ of every matrix of both fine-tunes, by module."""
    figure, axes = style.sheet("How far each matrix moved; a dot is one layer", height=2.7)
    models = samples.overlap_report().models
    modules = list(dict.fromkeys(matrix.module for matrix in models[0].matrices))
    for model, colour, shift, name in zip(
        models, (style.FIRST, style.SECOND), (-0.12, 0.12), (samples.FULL, samples.LORA),
        strict=True,
    ):  # fmt: skip
        points = [(modules.index(x.module) + shift, x.delta.relative_norm) for x in model.matrices]
        axes.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.75, markeredgewidth=0,
                  label=name)  # fmt: skip
    axes.set(ylabel="‖Δ‖ / ‖W‖", ylim=(0, 0.3), xlabel="module (…_proj)")
    words = [name.split(".")[-1].removesuffix("_proj") for name in modules]
    axes.set_xticks(range(len(modules)), words)
    axes.legend(loc="upper right", ncols=2)
    return figure


def ranks() -> Figure:
    """Three spectra, and what each of the three numbers makes of them."""
    d = 64
    index = torch.arange(1, d + 1, dtype=torch.float64)
    spike = torch.full((d,), 0.2, dtype=torch.float64)
    spike[0] = 1
    spectra = {
        "flat": (torch.ones(d, dtype=torch.float64), style.SECOND),
        "falls as 1/i": (1 / index, style.BASE),
        "one spike on a floor": (spike, style.FIRST),
    }
    numbers = {
        "stable": stable_rank,
        "participation": participation_ratio,
        "effective": effective_rank,
    }
    figure, (left, right) = style.sheet("Three counts of directions, of the same three spectra",
                                        height=2.7, ncols=2, width_ratios=(1, 1.35))  # fmt: skip
    for place, (name, (sigma, colour)) in enumerate(spectra.items()):
        left.plot(index, sigma, color=colour, label=name)
        for row, count in enumerate(numbers.values()):
            value, height = count(sigma), row + 0.26 * (place - 1)
            right.barh(height, value, height=0.22, color=colour)
            style.name_ends(right, [(value, height, f"{value:.1f}", colour)])
    left.set(xlabel="index i", ylabel="singular value", ylim=(0, 1.05))
    left.legend(loc="upper right", bbox_to_anchor=(1.05, 0.93), fontsize=8)
    right.set_yticks(range(len(numbers)), list(numbers))
    right.set(ylim=(2.5, -0.5), xlim=(0, 76), xlabel=f"directions, of {d}")
    right.tick_params(left=False)
    return figure


def rounding_share() -> Figure:
    """The share at every size of a delta stored in bfloat16 and float16, and the true error."""
    base = samples.base_matrix("layers.0.mlp.down_proj")
    delta = samples.normal(*base.shape, seed=75)
    delta *= base.double().norm() / delta.norm()
    figure, axes = style.sheet("The smaller the delta, the more of it is rounding")
    for dtype, colour in ((torch.bfloat16, style.FIRST), (torch.float16, style.SECOND)):
        word = str(dtype).removeprefix("torch.")
        line, true = [], []
        for size in torch.logspace(-4, -0.6, 24).tolist():
            stored = (base.double() + size * delta).to(dtype)
            kept = stored.double() - base.double()
            energy = float(kept.square().sum())
            line.append((size, rounding_energy(stored) / energy))
            true.append((size, float((kept - size * delta).square().sum()) / energy))
        axes.plot(*zip(*line, strict=True), color=colour, label=f"{word}: rounding share")
        axes.plot(*zip(*true, strict=True), ".", color=colour, label=f"{word}: true error")
    full = samples.overlap_report().models[0].matrices
    measured = [(x.delta.relative_norm, x.delta.rounding_share) for x in full]
    axes.plot(*zip(*measured, strict=True), "d", markerfacecolor="none", markersize=6,
              color=style.BASE, label="safe-full's matrices")  # fmt: skip
    axes.axhline(1, color=style.CHANCE, linestyle="--", linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlabel="size of the delta, ‖Δ‖ / ‖W‖",
             ylabel="share of ‖Δ‖²", ylim=(1e-6, 10))  # fmt: skip
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.legend(loc="lower left")
    return figure


def noise_rank() -> Figure:
    """Singular values of five directions in noise, the law of noise, and two thresholds."""
    m, n, noise = 160, 240, 0.01
    edge = tracy_widom_edge(m=m, n=n, noise=noise)
    strengths = edge * torch.tensor([1.8, 1.5, 1.3, 1.1, 0.75], dtype=torch.float64)
    signal = samples.with_spectrum(m, n, strengths, seed=81)
    sigma = singular_values(signal + noise * samples.normal(m, n, seed=83))
    cut = hard_threshold(sigma, m=m, n=n)
    figure, axes = style.sheet("Noise ends at an edge; what stands beyond it is signal")
    width = edge / 30
    axes.hist(sigma.tolist(), bins=[i * width for i in range(70)], color=style.BASE, alpha=0.55,
              linewidth=0)  # fmt: skip
    grid = torch.linspace(0.001, 1, 150, dtype=torch.float64) * edge
    law = _marchenko_pastur(grid / noise, m, n) / noise * m * width
    axes.plot(grid, law, color=style.BASE, linewidth=1.5)
    top = 1.4 * float(law.max())
    for at, words, colour, height in (
        (edge, f"Tracy-Widom edge: {rank_above(sigma, edge)} above", style.SECOND, 0.95),
        (cut, f"Gavish-Donoho: {rank_above(sigma, cut)} above", style.FIRST, 0.8),
    ):
        axes.plot([at, at], [0, top * height], color=colour, linewidth=1.4)
        style.name_ends(axes, [(at, top * height, words, colour)])
    style.name_ends(axes, [(0.01, 0.9 * top, "law of noise alone\n(Marchenko-Pastur)", style.BASE)])
    axes.set(xlabel="singular value of the delta", ylabel="how many", xlim=(0, 2.2 * edge),
             ylim=(0, top))  # fmt: skip
    return figure


def floor() -> Figure:
    """Singular values of a small delta as stored in bfloat16, before rounding, and the floor."""
    m, n, signal, shown = 96, 128, 8, 32
    base = (0.02 * samples.normal(m, n, seed=91)).bfloat16()
    learnt = samples.with_spectrum(m, n, 0.01 * samples.decay(signal, offset=4.0), seed=92)
    stored = (base.double() + learnt).bfloat16()
    found = singular_values(stored.double() - base.double())
    level = rounding_floor(m=m, n=n, rounding_energy=rounding_energy(stored))
    figure, axes = style.sheet("Below the floor, rounding alone makes singular values", height=2.7)
    axes.plot(range(1, signal + 1), singular_values(learnt)[:signal], "o", color=style.BASE,
              markerfacecolor="none", markersize=8, label="before rounding (rank 8)")  # fmt: skip
    axes.plot(range(1, shown + 1), found[:shown], "o", color=style.FIRST,
              label="as stored in bfloat16")  # fmt: skip
    axes.axhline(level, color=style.CHANCE, linestyle="--", linewidth=1.2)
    words = f"rounding floor: {rank_above(found, level)} above"
    style.name_ends(axes, [(18, level * 1.25, words, style.CHANCE)])
    axes.set(xlabel="index", ylabel="singular value of the delta", yscale="log", xlim=(0, 33),
             ylim=(3e-4, 1.5e-2))  # fmt: skip
    axes.legend(loc="upper right")
    return figure


def _marchenko_pastur(sigma: Tensor, m: int, n: int) -> Tensor:
    """Density of a singular value of m × n noise of unit variance, m ≤ n."""
    low, high = math.sqrt(n) - math.sqrt(m), math.sqrt(n) + math.sqrt(m)
    inside = ((high**2 - sigma**2) * (sigma**2 - low**2)).clamp(min=0).sqrt()
    return inside / (math.pi * m * sigma)
