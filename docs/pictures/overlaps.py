"""Pictures of a delta against the subspaces of its base."""

import samples
import style
import torch
from matplotlib.figure import Figure
from torch import Tensor

from weightlens.delta import Dense, measurable
from weightlens.overlap.chance import both_chance, either_mean, side_chance, z_score
from weightlens.overlap.curve import overlap_curve
from weightlens.overlap.subspace import subspace_overlap
from weightlens.overlap.weighted import weighted_overlap
from weightlens.spectral.basis import factorise, random_subspace
from weightlens.spectral.rank import SubspaceSize


def parts() -> Figure:
    """Which entries of UᵀΔV column, row, both and either count."""
    d, k = 12, 3
    base = factorise(samples.with_spectrum(d, d, samples.decay(d), seed=1))
    whole = base.subspace(SubspaceSize("rank", d))
    u, v = whole.u.double(), whole.v.double()
    inner = samples.normal(d, d, seed=3)
    inner[:k] *= 1.7
    inner[:, :k] *= 1.3
    delta = u @ inner @ v.T
    overlap = subspace_overlap(Dense(delta.float()), base.subspace(SubspaceSize("rank", k)))
    energy = (u.T @ delta @ v).square()
    chance = {
        "column": k / d,
        "row": k / d,
        "both": both_chance(k=k, m=d, n=d, concentration=1.0).mean,
        "either": either_mean(k=k, m=d, n=d),
    }
    figure, panels = style.sheet(
        "What each overlap counts (red) of ‖Δ‖²", height=2.25, ncols=4, sharey=True
    )
    top = torch.arange(d) < k
    writes, reads = top[:, None].expand(d, d), top[None, :].expand(d, d)
    counted = {"column": writes, "row": reads, "both": writes & reads, "either": writes | reads}
    for axes, (name, mask) in zip(panels, counted.items(), strict=True):
        for where, colour in ((mask, style.FIRST), (~mask, style.CHANCE)):
            style.heat(axes, energy.sqrt(), colour, highest=3.0, where=where)
        axes.set_title(f"{name} {overlap.side(name):.2f}")
        axes.set(xticks=[0, k, d], xticklabels=["1", "k", f"{d}"], yticks=[])
        axes.set_xlabel(f"chance {chance[name]:.2f}", color=style.CHANCE)
    panels[0].set_ylabel("direction that the\nbase writes, strongest first")
    figure.supxlabel("direction that the base reads, strongest first", fontsize=9)
    return figure


def column() -> Figure:
    """Column overlap at every k: an aligned and a random delta, and the band of chance."""
    m, n, r = 64, 96, 8
    base = factorise(samples.with_spectrum(m, n, samples.decay(m, power=0.6), seed=11))
    right, sigma = samples.frame(n, r, seed=13), samples.decay(r, offset=6.0)
    u = base.subspace(SubspaceSize("rank", m)).u.double()
    leaning = _leaning(u, r)
    deltas = {
        "aligned delta": (leaning, style.FIRST, (23, 0.7)),
        "random delta": (samples.frame(m, r, seed=15), style.SECOND, (25, 0.22)),
    }
    concentration = float(sigma.pow(4).sum() / sigma.square().sum() ** 2)
    ks = torch.arange(1, m + 1)
    chance = [side_chance(k=int(k), d=m, concentration=concentration) for k in ks]
    mean = torch.tensor([c.mean for c in chance])
    band = 2 * torch.tensor([c.std for c in chance])
    figure, axes = style.sheet("A random delta stays in the band of chance")
    axes.fill_between(ks, mean - band, mean + band, color=style.BAND, linewidth=0)
    axes.plot(ks, mean, color=style.CHANCE, linestyle="--", linewidth=1.2)
    for name, (left, colour, (x, y)) in deltas.items():
        curve = overlap_curve(base, Dense((left * sigma) @ right.T)).column
        axes.plot(ks, curve, color=colour)
        style.name_ends(axes, [(x, y, name, colour)])
    style.name_ends(axes, [(37, 0.4, "chance: k/m ± 2 std", style.CHANCE)])
    k = base.subspace(SubspaceSize()).rank
    axes.axvline(k, color=style.BASE, linewidth=0.8, linestyle=":")
    style.name_ends(axes, [(k, 0.98, f"k = {k} holds half of the base's energy", style.BASE)])
    axes.set(xlabel="k: how many of the base's strongest directions", ylabel="column overlap",
             xlim=(1, m), ylim=(0, 1.02))  # fmt: skip
    return figure


def chance() -> Figure:
    """Overlaps of random deltas against the predicted mean and spread; an aligned one far off."""
    m, k, r, draws = 64, 16, 6, 1500
    sigma = samples.decay(r, offset=6.0)
    basis = samples.frame(m, k, seed=22)
    total = float(sigma.square().sum())

    def overlap(left: Tensor) -> float:
        return float(((basis.T @ left) * sigma).square().sum()) / total

    source = samples.generator(21)
    found = [overlap(random_subspace(m, m, r, source).u.double()) for _ in range(draws)]
    whole = torch.linalg.qr(torch.cat([basis, samples.frame(m, m, seed=23)], dim=1)).Q
    measured = overlap(_leaning(whole, r))
    concentration = float(sigma.pow(4).sum()) / total**2
    predicted = side_chance(k=k, d=m, concentration=concentration)
    figure, axes = style.sheet("z counts standard deviations of chance", height=2.7)
    counts, _, _ = axes.hist(found, bins=30, range=(0.1, 0.4), color=style.BAND, edgecolor="none")
    top = float(counts.max())
    axes.axvline(predicted.mean, color=style.CHANCE, linestyle="--", linewidth=1.2)
    axes.plot([predicted.mean - predicted.std, predicted.mean + predicted.std], [top / 2] * 2,
              color=style.CHANCE, marker="|")  # fmt: skip
    axes.axvline(measured, color=style.FIRST)
    axes.annotate("", (measured, top * 0.7), xytext=(predicted.mean, top * 0.7),
                  arrowprops={"arrowstyle": "->", "color": style.FIRST})  # fmt: skip
    middle = (measured + predicted.mean) / 2
    axes.text(middle, top * 0.75, f"z = {z_score(measured, predicted):.1f}", color=style.FIRST,
              ha="center")  # fmt: skip
    style.name_ends(axes, [
        (0.0, top * 0.95, f"{draws} random\ndeltas", style.CHANCE),
        (0.29, top / 2, "predicted mean ± 1 std", style.CHANCE),
        (measured, top * 0.95, "one aligned\ndelta", style.FIRST),
    ])  # fmt: skip
    axes.set(xlabel=f"column overlap (k = {k} of m = {m} directions)", ylabel="deltas", xlim=(0, 1))
    return figure


def curve() -> Figure:
    """Column, row and both of one matrix of safe-full at every k."""
    name = "layers.0.mlp.down_proj"
    base = factorise(samples.base_matrix(name))
    found = overlap_curve(base, measurable(samples.tuned_delta(samples.FULL, name)))
    m, n = base.matrix.shape
    d = min(m, n)
    ks = torch.arange(1, d + 1)
    lines = {
        "column": (found.column, ks / m, style.FIRST, (0.42, 0.68)),
        "row": (found.row, ks / n, style.SECOND, (0.66, 0.46)),
        "both": (found.both, ks * ks / (m * n), style.THIRD, (0.84, 0.36)),
    }
    figure, axes = style.sheet("How deep in the base the delta lies (dashed: chance)")
    for word, (line, random, colour, (x, y)) in lines.items():
        axes.plot(ks / d, line, color=colour)
        axes.plot(ks / d, random, color=colour, linestyle="--", linewidth=1)
        at = [max(1, round(f * d)) for f in (0.01, 0.05, 0.1, 0.25, 0.5)]
        axes.plot([k / d for k in at], [float(line[k - 1]) for k in at], "o", color=colour)
        style.name_ends(axes, [(x, y, word, colour)])
    axes.set(xlabel=f"k / min(m, n), here {m} × {n}", ylabel="share of the delta",
             xlim=(0, 1), ylim=(0, 1.02))  # fmt: skip
    return figure


def weighted() -> Figure:
    """The base's energy by direction, and three deltas that write at its top, evenly, below."""
    m, n = 32, 48
    sigma = samples.decay(m)
    u, v = samples.frame(m, m, seed=41), samples.frame(n, m, seed=42)
    base = (u * sigma) @ v.T
    falling = torch.exp(-torch.arange(m, dtype=torch.float64) / 7)
    shares = {
        "writes where the base is strong": (falling, style.FIRST),
        "writes evenly": (torch.ones(m, dtype=torch.float64), style.SECOND),
        "writes where it is weak": (falling.flip(0), style.THIRD),
    }
    reads = samples.frame(n, m, seed=43)
    index = torch.arange(1, m + 1)
    figure, axes = style.sheet("Where the delta writes (lines), and the base (grey)")
    axes.bar(index, sigma.square() / sigma.square().sum(), width=1, color=style.BAND)
    for name, (share, colour) in shares.items():
        share = share / share.sum()
        overlap = weighted_overlap(base, Dense((u * share.sqrt()) @ reads.T)).column
        axes.plot(index, share, color=colour, label=f"{name}: {overlap * m:.2f}× chance")
    axes.legend(loc="upper right")
    axes.set(xlabel="direction that the base writes, strongest first", ylabel="share of the energy",
             xlim=(0.5, m + 0.5))  # fmt: skip
    return figure


def _leaning(u: Tensor, r: int) -> Tensor:
    """r orthonormal columns that lean towards the first columns of an orthonormal basis."""
    m = len(u)
    weights = samples.decay(m, offset=8.0)[:, None] * samples.normal(m, r, seed=14)
    return torch.linalg.qr(u @ weights).Q
