"""Pictures of what a delta does to its base: certificate, amplification, intruders, spectrum."""

import math

import samples
import style
import torch
from matplotlib.figure import Figure
from scipy.optimize import brentq

from weightlens.overlap.intruders import intruder_dimensions
from weightlens.spectral.angles import principal_angles
from weightlens.spectral.basis import factorise
from weightlens.spectral.change import spectrum_change
from weightlens.spectral.gram import singular_values
from weightlens.spectral.rank import SubspaceSize
from weightlens.spectral.tail import PowerLawTail, power_law_tail


def certificate() -> Figure:
    """Singular values with a near tie and a tie, the angle bound of every k, and the true error."""
    d = 24
    sigma = 10 * torch.exp(-torch.arange(d, dtype=torch.float64) / 10)
    sigma[9] = sigma[8] * (1 - 1e-7)
    sigma[15:18] = sigma[15]
    u, v = samples.frame(d, d, seed=51), samples.frame(36, d, seed=52)
    found = factorise((u * sigma) @ v.T)
    ks = range(1, d)
    bounds = [found.subspace(SubspaceSize("rank", k)).angle_bound for k in ks]
    errors = [float(principal_angles(u[:, :k], found.vectors[:, :k])[-1].sin()) for k in ks]
    figure, (above, below) = style.sheet(
        "The bound rises where singular values meet", height=3.6, nrows=2, sharex=True,
        height_ratios=(1, 1.6),
    )  # fmt: skip
    above.plot(range(1, d + 1), sigma, "o-", color=style.BASE, markersize=3, linewidth=1)
    above.set(ylabel="singular\nvalue", ylim=(0, 11))
    known = [(k, bound) for k, bound in zip(ks, bounds, strict=True) if math.isfinite(bound)]
    below.plot(*zip(*known, strict=True), "o", color=style.FIRST, label="angle bound")
    kept = [(k, e) for k, e in zip(ks, errors, strict=True) if math.isfinite(bounds[k - 1])]
    below.plot(
        *zip(*kept, strict=True), ".", color=style.SECOND, label="angle to the true subspace"
    )
    for k in (k for k, bound in zip(ks, bounds, strict=True) if not math.isfinite(bound)):
        below.axvspan(k - 0.5, k + 0.5, color=style.BAND, linewidth=0)
    style.name_ends(below, [(17.3, 1e-7, "grey: no gap,\nno bound", style.BASE)])
    below.set(yscale="log", ylim=(1e-17, 10), xlim=(0.5, d + 0.5),
              xlabel="k: dimension of the subspace", ylabel="sine of the angle")  # fmt: skip
    below.legend(loc="upper left")
    return figure


def amplification() -> Figure:
    """Factors of both fine-tunes against what directions drawn at random would give."""
    figure, axes = style.sheet("Compare the factor with that of random directions", height=3.4)
    subjects = ((samples.FULL, style.FIRST), (samples.LORA, style.SECOND))
    for model, (name, colour) in zip(samples.overlap_report().models, subjects, strict=True):
        points = []
        for matrix in model.matrices:
            rank, (m, n) = matrix.more["amplification_rank"], matrix.shape
            assert rank and matrix.delta.relative_norm
            random = matrix.delta.relative_norm * math.sqrt(m * n) / rank
            points.append((random, matrix.more["amplification"]))
        axes.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.75, markeredgewidth=0,
                  label=name)  # fmt: skip
    ends = (0.5, 150)
    axes.plot(ends, ends, color=style.CHANCE, linestyle="--", linewidth=1.2,
              label="random directions")  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, ylabel="amplification factor",
             xlabel="(‖Δ‖ / ‖W‖) √(mn) / r: the factor of random directions")  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}×")
    axes.legend(loc="upper left")
    return figure


def intruders() -> Figure:
    """Cosines of safe-lora's top left singular vectors with the base's, and the largest of each."""
    name, shown, count = "layers.3.mlp.gate_proj", 26, 10
    base = factorise(samples.base_matrix(name))
    tuned = samples.base_matrix(name) + samples.tuned_delta(samples.LORA, name).dense()
    d = min(base.matrix.shape)
    everything = base.subspace(SubspaceSize("rank", d)).u.double()
    top = factorise(tuned).subspace(SubspaceSize("rank", count)).u.double()
    side = intruder_dimensions(base, tuned, count=count).left
    figure, (left, right) = style.sheet(
        "An intruder resembles no direction of the base", height=2.9, ncols=2,
        width_ratios=(2.4, 1), sharey=True,
    )  # fmt: skip
    cosines = (top.T @ everything).abs()
    marked = torch.zeros(count, 1, dtype=torch.bool)
    marked[list(side.indices)] = True
    for where, colour in ((marked, style.FIRST), (~marked, style.BASE)):
        style.heat(left, cosines[:, :shown], colour, where=where.expand(count, shown))
    left.set(xlabel=f"base: first {shown} of {d} directions", ylabel="tuned matrix: top directions",
             xticks=[0.5, 9.5, 19.5], xticklabels=["1", "10", "20"], aspect="auto",
             yticks=[i + 0.5 for i in range(count)],
             yticklabels=[str(i + 1) for i in range(count)])  # fmt: skip
    left.set_title("|cosine|: white 0, dark 1", fontsize=8.5)
    colours = [style.FIRST if i in side.indices else style.BASE for i in range(count)]
    right.barh([i + 0.5 for i in range(count)], side.cosines, height=0.7, color=colours)
    right.axvline(0.5, color=style.CHANCE, linestyle="--", linewidth=1.2)
    right.set(xlim=(0, 1), xticks=[0, 0.5, 1], xlabel=f"largest of all {d}")
    right.set_title("red: below 0.5", fontsize=8.5, color=style.FIRST)
    right.tick_params(left=False)
    return figure


def change() -> Figure:
    """Two deltas of one size: along singular pairs, and turning them only."""
    d = 24
    sigma = samples.decay(d, offset=6.0)
    u, v = samples.frame(d, d, seed=61), samples.frame(d, d, seed=62)
    base = (u * sigma) @ v.T
    raised = torch.zeros(d, dtype=torch.float64)
    raised[:4] = torch.tensor([0.5, 0.4, 0.3, 0.2])
    size = float(raised.norm())
    skew = samples.normal(d, d, seed=63)
    skew = skew - skew.T

    def turned(angle: float) -> torch.Tensor:
        return torch.linalg.matrix_exp(angle * skew) @ base

    angle = brentq(lambda t: float((turned(t) - base).norm()) - size, 0, 0.2)
    cases = {
        "Δ along singular pairs": base + (u * raised) @ v.T,
        "Δ that turns the vectors": turned(angle),
    }
    figure, panels = style.sheet("Stretching shows; turning does not, at the same ‖Δ‖ / ‖W‖",
                                 height=2.8, ncols=2, sharey=True)  # fmt: skip
    index = range(1, d + 1)
    before = singular_values(base)
    for axes, (name, tuned) in zip(panels, cases.items(), strict=True):
        after = singular_values(tuned)
        axes.plot(index, before, color=style.BASE, linewidth=3, alpha=0.35, label="base")
        axes.plot(index, after, "o", color=style.FIRST, markersize=3, label="tuned")
        moved, norm = spectrum_change(before, after).in_norm, float((tuned - base).norm())
        axes.set_title(name)
        axes.text(0.95, 0.72, f"‖Δ‖ / ‖W‖ = {norm / float(base.norm()):.2f}\n"
                  f"spectrum change = {moved:.2f}", transform=axes.transAxes, ha="right",
                  fontsize=8.5)  # fmt: skip
        axes.set(xlabel="index", ylim=(0, None))
    panels[0].set_ylabel("singular value")
    panels[1].legend(loc="center right")
    return figure


def tail() -> Figure:
    """Eigenvalue distributions on logarithmic axes, with the fitted tail: a base and pure noise."""
    matrix = samples.base_matrix("layers.0.self_attn.k_proj")
    noise = samples.normal(*matrix.shape, seed=71)
    cases = {"layer 0, k_proj of the base": matrix, "Gaussian noise": noise}
    figure, panels = style.sheet("α: how steep the tail falls; D: how far the fit misses",
                                 height=3.0, ncols=2, sharey=True)  # fmt: skip
    for axes, (name, case) in zip(panels, cases.items(), strict=True):
        eigenvalues = singular_values(case).square()
        fit = power_law_tail(eigenvalues)
        assert fit is not None
        count = len(eigenvalues)
        axes.plot(eigenvalues, torch.arange(1, count + 1) / count, "o", markersize=3,
                  color=style.BASE, markeredgewidth=0)  # fmt: skip
        ends = torch.tensor([fit.minimum, float(eigenvalues[0])], dtype=torch.float64)
        axes.plot(ends, fit.size / count * (ends / fit.minimum) ** (1 - fit.alpha),
                  color=style.FIRST)  # fmt: skip
        axes.set_title(name)
        axes.text(0.05, 0.05, _fitted(fit), transform=axes.transAxes, fontsize=8.5,
                  color=style.FIRST)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="eigenvalue σ²", ylim=(0.5 / count, 1.5),
                 xlim=(float(eigenvalues[count // 2]), 2 * float(eigenvalues[0])))  # fmt: skip
    panels[0].set_ylabel("share of eigenvalues\nthat are as large")
    return figure


def _fitted(fit: PowerLawTail) -> str:
    return (
        f"α = {fit.alpha:.1f} ± {fit.alpha_std:.1f}\nD = {fit.distance:.2f}\n{fit.size} in the tail"
    )
