"""The small picture of a card: overlap by layer and module, over what chance gives."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO

from weightlens.merge.record import MatrixRecord, MergeReport, Sides
from weightlens.report.card_subject import CardSubject, Measured
from weightlens.report.grid import overlap_grid, short_modules
from weightlens.report.paper import Map, draw_map

_WIDTH, _DPI = 7.0, 130
_SIGNED = {"Software": "weightlens card"}
"""Stands in the file's head, by which a later run knows its own picture."""
_MOST_ROWS = 40


def is_own_picture(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a picture that was drawn here."""
    return b"weightlens card" in head


def picture_of(subject: CardSubject, measured: Sequence[Measured]) -> bytes | None:
    """A PNG of what was stripped, before and as written; without strips, of the overlaps that were
    measured apart. None where there is neither. The same results give the same bytes."""
    record = subject.record
    maps = _strip_maps(record) if isinstance(record, MergeReport) else []
    maps = maps or _measured_maps(subject, measured)
    return _drawn(maps) if maps else None


def _strip_maps(record: MergeReport) -> list[Map]:
    stripped = [m for m in record.matrices if any(s.before is not None for s in m.strips)]
    if not stripped:
        return []
    side = stripped[0].strips[0].side
    before = [(m, _before(m, side)) for m in stripped]
    written = [(m, _ratio(m.written, m.strips[-1].chance, m.strips[-1].side)) for m in stripped]
    return [
        _map(f"{side} overlap ÷ chance, before", before),
        _map("of the merge, as written", written),
    ]


def _before(matrix: MatrixRecord, side: str) -> float | None:
    """The mean of the sources' deltas by their energy, over chance."""
    first = {strip.source: strip for strip in reversed(matrix.strips)}.values()
    weighed = [(s.before, s.delta_norm**2) for s in first if s.before is not None]
    energy = sum(e for _, e in weighed)
    chance = float(getattr(matrix.strips[0].chance, side))
    if not energy or not chance:
        return None
    return sum(float(getattr(b, side)) * e for b, e in weighed) / energy / chance


def _ratio(sides: Sides | None, chance: Sides, side: str) -> float | None:
    by_chance = float(getattr(chance, side))
    return float(getattr(sides, side)) / by_chance if sides is not None and by_chance else None


def _map(title: str, values: Sequence[tuple[MatrixRecord, float | None]]) -> Map:
    """Of several matrices in one place (experts) the mean."""
    columns = short_modules([matrix.module for matrix, _ in values])
    layers = sorted({m.layer for m, _ in values}, key=lambda n: -1 if n is None else n)
    places: dict[tuple[int | None, str], list[float]] = {}
    for matrix, value in values:
        if value is not None:
            places.setdefault((matrix.layer, matrix.module), []).append(value)
    ratios = [[_mean(places.get((layer, module), ())) for module in columns] for layer in layers]
    names = ["–" if layer is None else str(layer) for layer in layers]
    return Map(title, names, list(columns.values()), ratios)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _measured_maps(subject: CardSubject, measured: Sequence[Measured]) -> list[Map]:
    """Of a source and of the subject itself, each side."""
    models: Mapping[str, object] = {n: m for one in measured for n, m in one.models.items()}
    names = [name for name in models if name != subject.title][:1]
    names += [subject.title] if subject.title in models else []
    maps = []
    for name in names:
        model = next(one.models[name] for one in measured if name in one.models)
        grid = overlap_grid(model)
        if grid.columns:
            maps += [
                Map(f"{name}: {side} ÷ chance", grid.layer_names, grid.columns, grid.ratios(side))
                for side in ("column", "row")
            ]
    return maps


def _drawn(maps: Sequence[Map]) -> bytes:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = -(-len(maps) // 2)
    layers = max(len(one.layers) for one in maps)
    height = min(max(0.2 * layers, 0.8), 3.6) + 0.9
    with pyplot.rc_context({"font.size": 8, "axes.titlesize": 8}):
        figure = pyplot.figure(figsize=(_WIDTH, height * rows), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False).ravel()
        for one, place in zip(maps, axes, strict=False):
            image = draw_map(place, one, numbers=layers <= _MOST_ROWS / 2)
        bar = figure.colorbar(
            image,
            ax=list(axes),
            pad=0.01,
            aspect=30,
            extend="max",
            extendfrac=0.03,
            ticks=[0, 1, 2],
        )
        bar.outline.set_visible(False)
        file = BytesIO()
        figure.savefig(file, format="png", dpi=_DPI, facecolor="white", metadata=_SIGNED)
        pyplot.close(figure)
    return file.getvalue()
