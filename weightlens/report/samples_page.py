"""Every draw of an evaluation on one self-contained page: to read, filter and compare.

Everything that a model said is embedded as JSON and shown as text. The page may run its own script
and nothing else, and load nothing: its policy holds the hashes of the script and of the style.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from weightlens.evaluate.result import EvalReport
from weightlens.record import write_output
from weightlens.report.answer_files import answer_files, degeneration_kinds
from weightlens.report.eval_parts import described, drift_told, names_of, told
from weightlens.report.page import SKIP, allowed
from weightlens.report.page_style import STYLE
from weightlens.report.samples_blocks import Samples
from weightlens.report.samples_cards import CARDS
from weightlens.report.samples_results import pairs_table, scores_table
from weightlens.report.samples_script import CHOOSING, READING, THEME, WIRING
from weightlens.report.samples_style import SAMPLES_STYLE

BUDGET = 40_000_000
_STYLE = STYLE + SAMPLES_STYLE
_SCRIPT = THEME + READING + CARDS + CHOOSING + WIRING

_CONTROLS = """
<div class='controls' role='search'>
<label>task<select id='task'></select></label>
<label>model<select id='a'></select></label>
<label>beside<select id='b'></select></label>
<label>show<select id='show'></select></label>
<label>group<select id='group'></select></label>
<label>outcome<select id='outcome'></select></label>
<label>truncated, degenerate<select id='ending'></select></label>
<label>judged<select id='judged'></select></label>
<label class='search'>search in questions and answers
<input type='search' id='search' placeholder='words, all of them'></label>
</div>
<div class='bar'><output id='count' aria-live='polite'></output>
<button type='button' id='reset'>Clear filters</button>
<button type='button' id='unfold'>Open all on this page</button></div>
<ol class='questions' id='questions'></ol>
<p class='none' id='none' hidden>No question has such a draw.</p>
<nav class='bar' aria-label='pages'><button type='button' id='first'>First</button>
<button type='button' id='previous'>Previous</button>
<label>page <input type='number' id='page' min='1' value='1'></label><span id='pages'></span>
<button type='button' id='next'>Next</button><button type='button' id='last'>Last</button></nav>
<noscript><p class='alarm'>The samples are shown by a script, which is switched off.</p></noscript>
"""


def write_samples_page(
    report: EvalReport,
    answers_folder: Path,
    file: Path,
    *,
    withheld: bool = False,
    budget: int = BUDGET,
) -> None:
    """Results, and every draw of the files that the report names.

    withheld: for a page that may be pushed: harmful material (see `sensitive`) is left out and a
    hash stands in its place, and so are the paths of the models. budget: characters of all texts
    together; beyond it the longest are shown by beginning and end.
    Raises EvaluationError for files that are missing or damaged, OutputError where the page cannot
    be written.
    """
    samples = Samples(
        report, answer_files(report, answers_folder), withheld=withheld, budget=budget
    )
    body = "\n".join(
        (
            *_head(report, samples, withheld=withheld),
            scores_table(report, degeneration_kinds(report, answers_folder)),
            pairs_table(report),
            "<h2 id='samples-heading' tabindex='-1'>Samples</h2>",
            viewer(samples),
        )
    )
    write_output(file, _page(f"Samples: {report.suite}", body))


def viewer(samples: Samples) -> str:
    """Menus, a list of questions, and the data that the script shows in it."""
    blocks = "\n".join(
        f"<script type='application/json' id='{name}'>{block}</script>"
        for name, block in samples.blocks()
    )
    return f"{_CONTROLS}\n{blocks}"


def viewer_notes(samples: Samples, *, withheld: bool) -> Iterator[str]:
    """What a reader must know of the samples: which are not those that were scored, and what is
    left out or cut."""
    yield from samples.beyond()
    if withheld:
        yield (
            "Left out here: answers to harmful requests that were not refused, answers that a "
            "judge found unsafe, those requests with their ids, and the thinking about them. "
            "Their hashes stand in their place."
        )
    if samples.limit is not None:
        yield (
            f"Texts of more than {samples.limit:,} characters are shown by their beginning and "
            "end, and searched there; the files of answers hold all of them."
        )


def _head(report: EvalReport, samples: Samples, *, withheld: bool) -> list[str]:
    lines = [
        "<h1>What the models answered</h1>",
        f"<p class='lead'>{escape(described(report))}; % with 95 % intervals. weightlens "
        f"{escape(report.weightlens)}.</p>",
    ]
    notes = (*drift_told(report), *told(report), *viewer_notes(samples, withheld=withheld))
    lines += [f"<p class='note'>{escape(note)}</p>" for note in notes]
    full = [(name, short) for name, short in names_of(report).items() if name != short]
    if full and not withheld:
        names = "".join(f"<li>{escape(short)}: {escape(name)}</li>" for name, short in full)
        lines.append(f"<details><summary>Models</summary><ul>{names}</ul></details>")
    return lines


def _page(title: str, body: str) -> str:
    policy = (
        f"default-src 'none'; img-src data:; script-src {allowed(_SCRIPT)}; "
        f"style-src {allowed(_STYLE)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<link rel='icon' href='data:,'>\n"
        f"<style>{_STYLE}</style></head>\n"
        f"<body>\n{SKIP}\n<button class='theme' type='button'>Dark theme</button>\n"
        f"<main id='main' tabindex='-1'>\n{body}\n</main>\n"
        f"<script>{_SCRIPT}</script>\n</body></html>\n"
    )
