"""Self-contained HTML pages: plotly embedded, no network, light and dark, down to phone width."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from weightlens.report.page_script import FIGURES, LEGENDS, TABLES
from weightlens.report.page_style import STYLE


@dataclass(frozen=True)
class Section:
    """Part of a page. figures: plotly figures by the id of the element in `html` that they fill."""

    html: str
    figures: Mapping[str, Any]


def render_page(title: str, body: str, figures: Mapping[str, Any]) -> str:
    """A whole page. figures: plotly figures by the id of the element that they fill."""
    data = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    for figure in data.values():
        figure["layout"].pop("template", None)
    # a "<" in a name could end the script element or begin another
    embedded = json.dumps(data).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<link rel='icon' href='data:,'>\n"
        f"<style>{STYLE}</style></head>\n"
        f"<body>\n<button class='theme' type='button'>Dark theme</button>\n{body}\n"
        f"<script>{get_plotlyjs()}</script>\n"
        f"<script>const FIGURES = {embedded};{FIGURES}{LEGENDS}{TABLES}</script>\n</body></html>\n"
    )


def figure_slot(name: str) -> str:
    """The element that a figure fills."""
    return f"<div class='figure' id='{escape(name)}'></div>"


def panels(captions: Mapping[str, str], kind: str = "") -> str:
    """Figures beside each other where there is room, by id with a caption each.

    kind: `three` for three in a row, `wide` for one; two where it is left out.
    """
    return (
        f"<div class='panels {kind}'>"
        + "".join(
            f"<figure><figcaption>{escape(caption)}</figcaption>{figure_slot(name)}</figure>"
            for name, caption in captions.items()
        )
        + "</div>"
    )
