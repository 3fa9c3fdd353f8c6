"""What the figures of an overlap page share: short names, a colour a module, a dash a model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from weightlens.report.colours import GREY, module_colours
from weightlens.report.grid import Grid, overlap_grid
from weightlens.report.names import short_models
from weightlens.survey.result import ModelRecord

DASHES = {"solid": "", "dash": "6 3", "dashdot": "6 2 2 2", "longdash": "10 3"}
"""Of lines, by plotly's names, with those of SVG."""
_ALL_SHOWN = 4


@dataclass(frozen=True)
class ShownModel:
    """dash: of its lines. shown: whether its lines are there before anything is clicked."""

    record: ModelRecord
    name: str
    dash: str
    shown: bool
    grid: Grid

    @property
    def key(self) -> str:
        """Of its button in a legend."""
        return f"model {self.name}"


@dataclass(frozen=True)
class Look:
    """colours: by module. parts: those that are parts of another, hidden until clicked. prefix: of
    the ids of its figures, where a page has several of these."""

    models: Sequence[ShownModel]
    colours: Mapping[str, str]
    parts: frozenset[str]
    prefix: str = ""

    @property
    def several(self) -> bool:
        """Whether lines need to say of which model they are."""
        return len(self.models) > 1

    def visible(self, module: str, model: ShownModel | None = None) -> bool:
        """Before anything is clicked."""
        return module not in self.parts and (model is None or model.shown)


def look_of(models: Sequence[ModelRecord], prefix: str = "") -> Look:
    """Of many models, only the first and the last are shown at first."""
    names = short_models([model.model for model in models])
    dashes, last = list(DASHES), len(models) - 1
    shown = [
        ShownModel(
            model,
            name,
            dashes[i % len(dashes)],
            len(models) <= _ALL_SHOWN or i in (0, last),
            overlap_grid(model),
        )
        for i, (model, name) in enumerate(zip(models, names, strict=True))
    ]
    columns = list(dict.fromkeys(label for model in shown for label in model.grid.columns))
    parts = frozenset(label for model in shown for label in model.grid.parts)
    # whole modules come first, so that colours come round again among parts
    colours = module_colours(sorted(columns, key=lambda label: label in parts))
    return Look(shown, {label: colours[label] for label in columns}, parts, prefix)


@dataclass(frozen=True)
class Entry:
    """A button of a legend. key: in the `meta` of the traces that it shows and hides.

    group: those among which a double click leaves one alone. on: before anything is clicked.
    """

    group: str
    key: str
    text: str
    colour: str = GREY
    dash: str = "solid"
    on: bool = True


def entries_of(look: Look) -> list[Entry]:
    """All modules, and the models where there are several."""
    modules = [
        Entry("module", module, module, colour, on=look.visible(module))
        for module, colour in look.colours.items()
    ]
    models = [
        Entry("model", model.key, model.name, dash=model.dash, on=model.shown)
        for model in look.models
    ]
    return modules + models if look.several else modules


def legend(entries: Iterable[Entry], figures: Iterable[str]) -> str:
    """Buttons that show and hide traces of some figures, by the ids of those."""
    buttons = "".join(
        f"<button type='button' data-group='{entry.group}' data-key='{escape(entry.key)}' "
        f"aria-pressed='{str(entry.on).lower()}'><svg aria-hidden='true'>"
        f"<line x1='0' y1='5' x2='24' y2='5' stroke='{entry.colour}' "
        f"stroke-dasharray='{DASHES[entry.dash]}'/></svg>{escape(entry.text)}</button>"
        for entry in entries
    )
    return (
        f"<div class='legend' data-figures='{escape(' '.join(figures))}' "
        f"title='click: hide or show; double click: alone'>{buttons}</div>"
    )
