"""What recipes come to, on screen."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from weightlens.merge.documents import Documents
from weightlens.merge.grouping import Group, Use
from weightlens.merge.resolution import Resolution
from weightlens.merge.transforms import Strip


def outline(file: Path, documents: Documents) -> list[str]:
    """What a file comes to: each of its recipes in the order of the work, the output's last."""
    steps = list(documents.steps.items())
    lines = [f"{file}: OK" + (f", {len(steps) + 1} recipes" if steps else "")]
    for name, step in steps:
        lines += [f"  {name}", *(f"    {line}" for line in _facts(step))]
    if steps:
        lines.append(f"  {documents.last.recipe.name or 'the output'}")
    indent = "    " if steps else "  "
    return [*lines, *(f"{indent}{line}" for line in _facts(documents.last))]


def _facts(resolution: Resolution) -> Iterator[str]:
    recipe, kind, groups = resolution.recipe, resolution.kind, resolution.groups
    yield f"method      {recipe.merge_method}, {'matrix' if resolution.transforms else kind.passes}"
    bases = dict.fromkeys(group.base.model for group in groups if group.base)
    if bases:
        yield f"base        {', '.join(bases)}"
    yield f"sources     {', '.join(resolution.sources)}"
    if groups[0].layers is not None:
        layers = sum(group.layers or 0 for group in groups)
        yield f"slices      {len(groups)}, {layers} layers"
        yield from (f"            {row}" for row in _slices(groups))
    if resolution.transforms:
        yield f"transforms  {'; '.join(map(_strip, resolution.transforms))}"
    yield f"written     {_dtype(resolution)}"
    yield from (f"warning: {warning}" for warning in resolution.warnings)


def _slices(groups: Sequence[Group]) -> Iterator[str]:
    """Layers of the output and those that they are made of."""
    first = 0
    for group in groups:
        uses = [*([group.base] if group.base else []), *group.sources]
        end = first + (group.layers or 0)
        of = ", ".join(f"{use.model} {_span(use)}" for use in uses)
        module = f"{group.module}: " if group.module else ""
        yield f"{module}{first}–{end - 1} of {of}"
        first = end


def _span(use: Use) -> str:
    first, end = use.layers or (0, 0)
    return f"{first}–{end - 1}"


def _strip(transform: Strip) -> str:
    size = transform.size
    by = "strength" if transform.strength is not None else "target"
    value = transform.strength if transform.strength is not None else transform.target
    random = " of random subspaces" if transform.subspace == "random" else ""
    return f"strip {transform.side}{random}, {size.by} {size.value:g}, {by} {value}"


def _dtype(resolution: Resolution) -> str:
    name = resolution.recipe.out_dtype or resolution.recipe.dtype or "as the sources"
    return f"{name}, as an adapter" if resolution.recipe.output == "adapter" else name
