"""How far models have drifted from the first, in the terminal: a line for each kind of answers."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from weightlens.evaluate.drift.result import Amount, Drift, DriftPart, caveats
from weightlens.evaluate.result import EvalReport


def drift_tables(report: EvalReport, names: Mapping[str, str]) -> Iterator[RenderableType]:
    """A table for every unit that drift was measured in, with what the reader must know of it.

    names: short ones of the models.
    """
    for base, unit in dict.fromkeys((drift.base, drift.unit) for drift in report.drift):
        drifts = [drift for drift in report.drift if (drift.base, drift.unit) == (base, unit)]
        first = names.get(base, base)
        yield Text(f"Drift from {first}: nats per {unit} [95 % interval]", style="bold")
        yield _table(drifts, names)
        yield ""
        yield (
            f"Less likely: how much less likely the model finds these answers than {first} does. "
            f"KL: how far what it would say at every {unit} is from what {first} would."
        )
        for drift in drifts:
            yield from (f"{names.get(drift.model, drift.model)}: {c}" for c in caveats(drift))
        yield ""


def _table(drifts: list[Drift], names: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("answers", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name in ("less likely by", "KL"):
        table.add_column(name, overflow="fold")
    for drift in drifts:
        for part in drift.parts[1:] or drift.parts:
            table.add_row(Text(names.get(drift.model, drift.model)), *_cells(part))
    return table


def _cells(part: DriftPart) -> Iterator[Text]:
    yield Text(part.kind or "all")
    yield Text(str(part.n))
    yield Text(_written(part.increase, "+.3f"))
    yield Text("–" if part.kl is None else _written(part.kl, ".3f"))


def _written(amount: Amount, form: str) -> str:
    value = _number(amount.value, form)
    low, high = amount.ci95
    if low is None or high is None:
        return value
    return f"{value} [{_number(low, form)}, {_number(high, form)}]"


def _number(value: float, form: str) -> str:
    # what is not nought must not read so
    small = value != 0 and abs(value) < 0.0005
    return format(value, form.replace(".3f", ".1g") if small else form).replace("-", "−")
