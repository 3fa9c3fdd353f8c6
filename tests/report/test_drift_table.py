"""Drift in the terminal: a line for each kind of answers, with its interval and its caveats."""

import io

from rich.console import Console

from weightlens.evaluate.drift.result import Amount, Drift, DriftPart
from weightlens.evaluate.result import EvalReport
from weightlens.report.drift_table import drift_tables


def amount(value: float, low: float | None = None, high: float | None = None) -> Amount:
    return Amount(value=value, stderr=None, ci95=(low, high))


def part(kind: str, increase: Amount, kl: Amount | None) -> DriftPart:
    return DriftPart(
        kind=kind, n=40, tokens=400, nll_base=amount(0.5), nll_model=amount(0.6),
        increase=increase, p=0.01, detectable=None, kl=kl,
    )  # fmt: skip


def shown(*drifts: Drift) -> list[str]:
    report = EvalReport(
        weightlens="0", suite="drift", settings={}, models=[], pairs=[], drift=[*drifts]
    )
    console = Console(file=io.StringIO(), width=90)
    console.print(*drift_tables(report, {"a/base": "base", "a/merge": "merge"}), sep="\n")
    return console.file.getvalue().splitlines()


def drift(*parts: DriftPart, **more: object) -> Drift:
    given = {"unit": "token", "traces": [], "cut": 0, "left_out": [], "notes": []} | more
    return Drift(base="a/base", model="a/merge", parts=[*parts], **given)


def test_every_kind_has_a_line_and_the_whole_only_where_it_is_all() -> None:
    whole = part("", amount(0.1, 0.05, 0.15), amount(0.2, 0.1, 0.3))
    kinds = [part("reasoning", amount(-0.00012, -0.0002, 0), amount(0.087, 0.0721, 0.112)),
             part("refusal", amount(0.163), None)]  # fmt: skip
    lines = shown(drift(whole, *kinds))
    assert lines[0] == "Drift from base: nats per token [95 % interval]"
    rows = [" ".join(line.split()) for line in lines if line.startswith("merge")]
    assert rows == [
        "merge reasoning 40 −0.0001 [−0.0002, +0.000] 0.087 [0.072, 0.112]",
        "merge refusal 40 +0.163 –",
    ]
    (row,) = (line for line in shown(drift(whole)) if line.startswith("merge"))
    assert row.split()[:3] == ["merge", "all", "40"]


def test_what_was_cut_and_left_out_is_told_by_model() -> None:
    whole = part("", amount(0.1), None)
    lines = shown(drift(whole, traces=[], cut=3, left_out=["q"], notes=["no KL: vocabularies"]))
    assert "merge: 3 of 0 answers cut at the end of the context" in lines
    assert "merge: 1 left out, too long for the context" in lines
    assert lines[-2:] == ["merge: no KL: vocabularies", ""]
    assert shown() == [""]
