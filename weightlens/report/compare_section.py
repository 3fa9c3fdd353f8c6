"""Fine-tunes of one base against each other, on a page."""

from weightlens.report.certificate import interrupted
from weightlens.report.compare_tables import EXPLAINED, module_rows, pair_rows
from weightlens.report.html_table import html_table
from weightlens.report.names import short_models
from weightlens.report.page import Section, alarm, folded
from weightlens.survey.compare_result import CompareReport


def compare_section(report: CompareReport, title: str = "Fine-tunes compared") -> Section:
    """A row a pair, and for every pair behind its names a row a module."""
    by = f"{report.subspace.by} {report.subspace.value:g}"
    names = short_models(report.models)
    short = dict(zip(report.models, names, strict=True))
    rows = [(short.get(a, a), short.get(b, b), *numbers) for a, b, *numbers in pair_rows(report)]
    head = ("model", "and", "cosine", "sign conflict", "a in b ÷ chance", "b in a ÷ chance",
            "interference")  # fmt: skip
    html = [
        alarm(interrupted(report)),
        f"<p class='note'>Subspaces of the deltas by {by}. {EXPLAINED}</p>",
        html_table(head, rows, label="every two fine-tunes", words=2),
    ]
    of_modules = ("module", "cosine", "sign conflict", "distance ÷ chance: column", "row",
                  "interference")  # fmt: skip
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            pair = f"{names[a]} and {names[b]} by module"
            table = html_table(of_modules, module_rows(report, a, b), label=pair)
            html.append(folded(Section(table, {}, pair)))
    return Section("\n".join(html), {}, title)
