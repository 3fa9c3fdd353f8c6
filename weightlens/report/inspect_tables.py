"""`weightlens inspect` in the terminal; imports nothing that reads weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from weightlens.report.banded import Banded, Line
from weightlens.report.folding import shared_prefix
from weightlens.survey.inspect import Group, InspectReport, TensorSpectrum

_GROUP_HEADS = (("module",), ("tensors", "shape"), ("dtype",), ("parameters", "MB"))
_SPECTRUM_HEADS = (("tensor",), ("norm", "σ₁"), ("stable\nrank", "effective\nrank"))
_USUAL_END = ".weight"


def inspect_tables(report: InspectReport) -> list[RenderableType]:
    """A few lines about the whole, a line a module, how a merge was made, and spectra."""
    kinds = ", ".join(f"{_count(n)} {dtype}" for dtype, n in report.dtypes.items())
    lines: list[RenderableType] = [
        f"{report.model}: {report.architecture or report.kind}, {report.layers} layers, "
        f"{_count(report.parameters)} parameters ({kinds})",
        f"{report.tensors} tensors in {report.files} file{'s' * (report.files != 1)}, "
        f"{report.bytes / 1e6:,.1f} MB",
    ]
    if report.adapter is not None:
        lines.append(", ".join(_settings(report.adapter)))
    elif report.tied_embeddings:
        lines.append("input and output embeddings are tied")
    lines += ["", *_groups(report.groups)]
    if report.provenance is not None:
        lines += _made(report.provenance)
    if report.spectra is not None:
        lines += _spectra(report.spectra)
    return lines


def _settings(adapter: Mapping[str, Any]) -> Iterator[str]:
    for name, value in adapter.items():
        if value is not None:
            yield f"{name}: {' '.join(map(str, value)) if isinstance(value, list) else value}"


def _groups(groups: Sequence[Group]) -> Iterator[RenderableType]:
    """A line a module; what all names begin with is said once."""
    prefix = shared_prefix([group.module for group in groups])
    lines = []
    for group in groups:
        shape = "mixed" if group.shape is None else " × ".join(map(str, group.shape)) or "scalar"
        lines.append(
            Line(
                (
                    group.module.removeprefix(prefix),
                    str(group.tensors),
                    shape,
                    group.dtype or "mixed",
                    _count(group.parameters),
                    f"{group.bytes / 1e6:,.1f}",
                )
            )
        )
    yield Banded("", _GROUP_HEADS, lines)
    if prefix:
        yield Text(f"Names of modules are without {prefix}", style="dim")
    yield ""


def _made(made: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How a merge came to be: versions, seed and plan, the models that went in, the recipe; or from
    what an adapter was extracted."""
    if "tuned" in made:
        tuned, base = made["tuned"]["model"], made["base"]["model"]
        yield f"extracted by weightlens {made.get('weightlens')}: {tuned} − {base}"
        return
    yield (
        f"merged by weightlens {made.get('weightlens')} with torch {made.get('torch')}, "
        f"seed {made.get('seed')}, plan {made.get('plan') or 'unknown'}"
    )
    yield from _recipe(made)
    for name, step in made.get("steps", {}).items():
        yield f"{name}, a step of it, plan {step.get('plan') or 'unknown'}"
        yield from _recipe(step)


def _recipe(made: Mapping[str, Any]) -> Iterator[RenderableType]:
    models = [("base", made["base"])] if made.get("base") else []
    for role, model in [*models, *(("source", source) for source in made.get("sources", []))]:
        known = f"commit {model['commit']}" if model.get("commit") else f"hash {model.get('hash')}"
        yield f"{role} {model['model']}, {known}"
    yield str(made.get("recipe", "")).rstrip()


def _spectra(found: Sequence[TensorSpectrum]) -> Iterator[RenderableType]:
    """A line a tensor; what is broken stands in the last column, where anything is."""
    if not found:
        return
    prefix, ending = _left_out([tensor.name for tensor in found])
    broken = [_broken(tensor) for tensor in found]
    heads = (*_SPECTRUM_HEADS, ("broken",)) if any(broken) else _SPECTRUM_HEADS
    lines = []
    for tensor, what in zip(found, broken, strict=True):
        numbers = (tensor.norm, tensor.spectral_norm, tensor.stable_rank, tensor.effective_rank)
        shown = ["–" if v is None else f"{v:.4g}" for v in numbers]
        name = tensor.name.removeprefix(prefix).removesuffix(ending)
        lines.append(Line((name, *shown, what)))
    yield Banded("", heads, lines)
    if prefix or ending:
        left_out = " and ".join(part for part in (prefix, ending) if part)
        yield Text(f"Names of tensors are without {left_out}", style="dim")
    if not any(broken):
        yield "No NaN, no Inf, and no dead rows."


def _left_out(names: Sequence[str]) -> tuple[str, str]:
    """What names can do without: what all begin with, and the usual end where they stay apart."""
    short = {name.removesuffix(_USUAL_END) for name in names}
    is_usual = len(short) == len(names) and any(name.endswith(_USUAL_END) for name in names)
    return shared_prefix(list(names)), _USUAL_END if is_usual else ""


def _broken(tensor: TensorSpectrum) -> str:
    dead = tensor.dead_rows or 0
    counts = {"NaN": tensor.nan, "Inf": tensor.inf, "dead row" + "s" * (dead != 1): dead}
    return ",\n".join(f"{n} {what}" for what, n in counts.items() if n)


def _count(n: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
