"""`weightlens inspect` in the terminal; imports nothing that reads weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.survey.inspect import InspectReport, TensorSpectrum


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
        lines.append(", ".join(f"{k}: {v}" for k, v in report.adapter.items() if v is not None))
    elif report.tied_embeddings:
        lines.append("input and output embeddings are tied")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("module")
    for name in ("tensors", "shape", "dtype", "parameters", "MB"):
        table.add_column(name, justify="right")
    for group in report.groups:
        shape = "mixed" if group.shape is None else " × ".join(map(str, group.shape)) or "scalar"
        table.add_row(
            group.module,
            str(group.tensors),
            shape,
            group.dtype or "mixed",
            _count(group.parameters),
            f"{group.bytes / 1e6:,.1f}",
        )
    lines.append(table)
    if report.provenance is not None:
        lines += _made(report.provenance)
    if report.spectra is not None:
        lines.append(_spectra_table(report.spectra))
    return lines


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
    models = [("base", made["base"])] if made.get("base") else []
    for role, model in [*models, *(("source", source) for source in made.get("sources", []))]:
        known = f"commit {model['commit']}" if model.get("commit") else f"hash {model.get('hash')}"
        yield f"{role} {model['model']}, {known}"
    yield str(made.get("recipe", "")).rstrip()


def _spectra_table(found: Sequence[TensorSpectrum]) -> Table:
    """A line a tensor; what is broken stands in the last column."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("tensor")
    for name in ("norm", "σ₁", "stable rank", "effective rank", "broken"):
        table.add_column(name, justify="right")
    for tensor in found:
        counts = {"NaN": tensor.nan, "Inf": tensor.inf, "dead rows": tensor.dead_rows or 0}
        broken = [f"{n} {what}" for what, n in counts.items() if n]
        numbers = (tensor.norm, tensor.spectral_norm, tensor.stable_rank, tensor.effective_rank)
        table.add_row(
            tensor.name,
            *["–" if v is None else f"{v:.4g}" for v in numbers],
            ", ".join(broken),
        )
    return table


def _count(n: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
