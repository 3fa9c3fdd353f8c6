"""Pictures of two deltas of one base."""

import math

import samples
import style
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from weightlens.delta import Compact, Delta, Dense
from weightlens.overlap.alignment import alignment_with
from weightlens.overlap.cosine import cosine as cosine_of
from weightlens.overlap.interference import interference as interference_of
from weightlens.overlap.interference import task_singular_vectors
from weightlens.overlap.signs import sign_conflict
from weightlens.overlap.similarity import subspace_similarity
from weightlens.spectral.angles import chordal_distance, geodesic_distance, principal_angles
from weightlens.spectral.rank import SubspaceSize


def cosine() -> Figure:
    """Entries of two deltas against each other, at three cosines."""
    first, other = samples.normal(10, 12, seed=101), samples.normal(10, 12, seed=102)
    other -= (first * other).sum() / first.square().sum() * first
    other *= first.norm() / other.norm()
    figure, panels = style.sheet("Each dot is one entry of the matrix, in both deltas", height=2.3,
                                 ncols=3, sharey=True)  # fmt: skip
    for axes, share in zip(panels, (0.85, 0.0, -0.6), strict=True):
        second = share * first + math.sqrt(1 - share**2) * other
        _entries(axes, first, second)
        found = cosine_of(Dense(first), Dense(second))
        axes.set_title(f"cosine {found:.2f}".replace("-0.00", "0.00").replace("-", "−"))
    panels[1].set_xlabel("entry of Δ of model a")
    panels[0].set_ylabel("entry of Δ of model b")
    return figure


def signs() -> Figure:
    """Entries of two deltas, those of opposite signs in red: any, and the small ones only."""
    first, other = samples.normal(10, 16, seed=111), samples.normal(10, 16, seed=112)
    small = (first.abs() < 0.7) & (samples.normal(10, 16, seed=113) > -0.8)
    agreed = other.abs() * first.sign() * torch.where(small, -0.35, 1.0)
    figure, panels = style.sheet("A similar share of conflicts can weigh little", height=3.35,
                                 ncols=2, sharey=True)  # fmt: skip
    cases = (("unrelated", other), ("conflict in small entries", agreed))
    for axes, (name, second) in zip(panels, cases, strict=True):
        _entries(axes, first, second)
        axes.fill_between([-3, 0], 0, 3, color=style.FIRST, alpha=0.08, linewidth=0)
        axes.fill_between([0, 3], -3, 0, color=style.FIRST, alpha=0.08, linewidth=0)
        found = sign_conflict(Dense(first), Dense(second))
        assert found is not None
        axes.set_title(f"{name}\nshare {found.share:.0%}, weighted {found.weighted:.0%}")
        axes.set_xlabel("entry of Δ of model a")
    panels[0].set_ylabel("entry of Δ of model b")
    return figure


def angles() -> Figure:
    """Principal angles of three pairs of subspaces, and the two distances made of them."""
    d, k = 64, 8
    first, other = samples.frame(d, k, seed=121), samples.frame(d, k, seed=122)
    tilted = torch.linalg.qr(first + 0.06 * samples.normal(d, k, seed=123)).Q
    shared = torch.linalg.qr(torch.cat([first[:, :4], other[:, 4:]], dim=1)).Q
    pairs = {
        "tilted": (tilted, style.SECOND, (5.2, 17)),
        "share 4 of 8": (shared, style.THIRD, (4.4, 7)),
        "unrelated": (other, style.FIRST, (1.6, 52)),
    }
    figure, (left, right) = style.sheet("Small angles are shared directions", height=2.8, ncols=2,
                                        width_ratios=(1.25, 1))  # fmt: skip
    for place, (name, (second, colour, (x, y))) in enumerate(pairs.items()):
        found = principal_angles(first, second)
        left.plot(range(1, k + 1), found.rad2deg(), "o-", color=colour)
        style.name_ends(left, [(x, y, name, colour)])
        distances = geodesic_distance(found), chordal_distance(found)
        for row, value in enumerate(distances):
            height = row + 0.26 * (place - 1)
            right.barh(height, value, height=0.22, color=colour)
            style.name_ends(right, [(value, height, f"{value:.2f}", colour)])
    left.set(xlabel=f"angle number, of {k}", ylabel="principal angle in degrees", ylim=(-2, 92),
             yticks=[0, 30, 60, 90])  # fmt: skip
    right.set_yticks([0, 1], ["geodesic", "chordal"])
    right.set(ylim=(1.5, -0.5), xlim=(0, 5), xlabel="distance")
    right.tick_params(left=False)
    return figure


def alignment() -> Figure:
    """How much of one fine-tune's delta the other's leading space holds, by its dimension."""
    name = "layers.1.self_attn.v_proj"
    deltas = [samples.tuned_delta(model, name) for model in (samples.FULL, samples.LORA)]
    m, n = deltas[0].shape
    figure, axes = style.sheet("safe-full's space holds most of safe-lora, not the reverse")
    cases = (
        (deltas[1], deltas[0], style.SECOND),
        (deltas[0], deltas[1], style.FIRST),
    )
    for delta, reference, colour in cases:
        whole = task_singular_vectors(reference, SubspaceSize("rank", min(m, n)))
        line = [_ratio(delta, whole, k) for k in range(1, len(whole.sigma) + 1)]
        axes.plot(range(1, len(line) + 1), line, color=colour)
        k = task_singular_vectors(reference, SubspaceSize("energy", 0.95)).sigma.shape[0]
        axes.plot([k], [line[k - 1]], "o", color=colour, markersize=8)
    ks = torch.arange(1, m + 1)
    axes.plot(ks, (ks / m).sqrt(), color=style.CHANCE, linestyle="--", linewidth=1.2)
    style.name_ends(axes, [
        (2.0, 0.8, "safe-lora in safe-full's space", style.SECOND),
        (8.4, 0.52, "safe-full in\nsafe-lora's space", style.FIRST),
        (34, 0.44, "unrelated: √(k/m)", style.CHANCE),
    ])  # fmt: skip
    axes.set(xscale="log", xlim=(1, m), ylim=(0, 1.02), ylabel="‖Π Δ‖ / ‖Δ‖",
             xlabel="k: dimension of the space (large dot: 95 % of its energy)")  # fmt: skip
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64, 128], ["1", "2", "4", "8", "16", "32", "64", "128"])
    axes.minorticks_off()
    return figure


def interference() -> Figure:
    """Inner products of two deltas' singular vectors side by side, in three cases."""
    d, k = 32, 6
    sigma = samples.decay(k, offset=6.0)
    left, right = samples.frame(d, 2 * k, seed=131), samples.frame(d, 2 * k, seed=132)
    first = Compact(left[:, :k], sigma, right[:, :k])
    unrelated = Compact(samples.frame(d, k, seed=133), sigma, samples.frame(d, k, seed=134))
    cases = {
        "orthogonal": Compact(left[:, k:], sigma, right[:, k:]),
        "unrelated": unrelated,
        "the same": first,
    }
    figure, grid = style.sheet("Interference (STI) is what lies off the diagonal", height=3.3,
                               nrows=2, ncols=3, sharex=True, sharey=True)  # fmt: skip
    for column, (name, second) in enumerate(cases.items()):
        bases = torch.cat([first.left, second.left], 1), torch.cat([first.right, second.right], 1)
        for axes, basis in zip(grid[:, column], bases, strict=True):
            style.heat(axes, (basis.T @ basis).abs(), style.FIRST)
            axes.axhline(k, color="white", linewidth=2)
            axes.axvline(k, color="white", linewidth=2)
            axes.set(xticks=[k / 2, 1.5 * k], xticklabels=["Δ a", "Δ b"])
            axes.set(yticks=[k / 2, 1.5 * k], yticklabels=["Δ a", "Δ b"])
        grid[0, column].set_title(f"{name}: STI {interference_of([first, second]):.1f}")
    grid[0, 0].set_ylabel("|UᵀU|: what\nthey write")
    grid[1, 0].set_ylabel("|VᵀV|: what\nthey read")
    style.colour_scale(figure, grid, style.FIRST, highest=1, label="|inner product|")
    return figure


def similarity() -> Figure:
    """φ(i, j) of two deltas that share four directions, and of two unrelated ones."""
    d, k, shared = 64, 12, 4
    first, other = samples.frame(d, k, seed=141), samples.frame(d, k, seed=142)
    turn = torch.linalg.qr(samples.normal(shared, shared, seed=143)).Q
    alike = torch.linalg.qr(torch.cat([first[:, :shared] @ turn, other[:, shared:]], dim=1)).Q
    figure, panels = style.sheet("Shared leading directions show at small ranks", height=2.9,
                                 ncols=2, sharey=True)  # fmt: skip
    for axes, name, second in zip(panels, ("share their top 4", "unrelated"), (alike, other),
                                  strict=True):  # fmt: skip
        style.heat(axes, subspace_similarity(first, second), style.FIRST)
        axes.set_title(name)
        ticks = [1, shared, 8, k]
        axes.set(xticks=[t - 0.5 for t in ticks], xticklabels=ticks)
        axes.set(
            yticks=[t - 0.5 for t in ticks], yticklabels=ticks, xlabel="j: top directions of b"
        )
    panels[0].set_ylabel("i: top directions of a")
    style.colour_scale(figure, panels, style.FIRST, highest=1, label="φ(i, j)")
    return figure


def _entries(axes: Axes, first: Tensor, second: Tensor) -> None:
    opposed = first * second < 0
    for which, colour in ((~opposed, style.SECOND), (opposed, style.FIRST)):
        axes.plot(first[which], second[which], ".", color=colour, markersize=4)
    axes.axhline(0, color=style.CHANCE, linewidth=0.6)
    axes.axvline(0, color=style.CHANCE, linewidth=0.6)
    axes.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])


def _ratio(delta: Delta, whole: Compact, k: int) -> float:
    found = alignment_with(delta, Compact(whole.left[:, :k], whole.sigma[:k], whole.right[:, :k]))
    assert found is not None
    return found.ratio
