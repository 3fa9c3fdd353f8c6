"""Self-contained HTML pages: plotly embedded, no network, light and dark, down to phone width.

A page may run its own scripts and load nothing: its policy holds their hashes. plotly writes
styles as it draws, so those are allowed.
"""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from plotly.offline import get_plotlyjs

from weightlens.report.page_script import FIGURES, LEGENDS, TABLES
from weightlens.report.page_style import STYLE

SKIP = "<a class='skip' href='#main'>Skip to the content</a>"
"""The first stop of a keyboard on every page."""


@dataclass(frozen=True)
class Section:
    """Part of a page. figures: plotly figures by the id of the element in `html` that they fill.
    title: what stands above it, added by the page."""

    html: str
    figures: Mapping[str, Any]
    title: str = ""


@dataclass(frozen=True)
class Extras:
    """What a page has besides figures and tables: rules of style, and a script."""

    style: str = ""
    script: str = ""


def render_page(
    title: str, body: str, figures: Mapping[str, Any], extras: Extras = Extras()
) -> str:
    """A whole page. figures: plotly figures by the id of the element that they fill."""
    data = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    for figure in data.values():
        figure["layout"].pop("template", None)
    # a "<" in a name could end the script element or begin another
    embedded = json.dumps(data).replace("<", "\\u003c")
    drawing = f"const FIGURES = {embedded};{FIGURES}{LEGENDS}{TABLES}"
    scripts = [one for one in (get_plotlyjs(), drawing, extras.script) if one]
    policy = (
        f"default-src 'none'; img-src data: blob:; script-src {' '.join(map(allowed, scripts))}; "
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<link rel='icon' href='data:,'>\n"
        f"<style>{STYLE}{extras.style}</style></head>\n"
        f"<body>\n{SKIP}\n<button class='theme' type='button'>Dark theme</button>\n"
        f"<main id='main' tabindex='-1'>\n{body}\n</main>\n"
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + "</body></html>\n"
    )


def allowed(script: str) -> str:
    """A script, or a style, in the words of a page's policy."""
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def headed(section: Section) -> str:
    """A section under its title, where a page has it by its own."""
    return (
        f"<section id='{anchor(section.title)}' tabindex='-1'><h2>{escape(section.title)}</h2>\n"
        f"{section.html}</section>"
    )


def folded(section: Section) -> str:
    """A section behind its title."""
    return f"<details><summary>{escape(section.title)}</summary>\n{section.html}</details>"


def alarm(text: str | None) -> str:
    """What a reader must not miss; nothing of None."""
    return "" if text is None else f"<p class='alarm' role='alert'>{escape(text)}</p>"


def navigation(titles: Iterable[str]) -> str:
    """Links to the sections of a page; nothing where there is only one."""
    links = [f"<li><a href='#{anchor(title)}'>{escape(title)}</a></li>" for title in titles]
    return f"<nav aria-label='sections'><ul>{''.join(links)}</ul></nav>" if len(links) > 1 else ""


def anchor(title: str) -> str:
    """The id of the section with a title."""
    return "section-" + "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def figures_of(sections: Sequence[Section]) -> dict[str, Any]:
    """The figures of all of them."""
    return {name: figure for section in sections for name, figure in section.figures.items()}


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
