"""How the base's subspaces were found, and how sure they are, in sentences."""

from collections import Counter
from collections.abc import Iterator

from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import OverlapReport, SubspaceRecord

CERTIFIED = 1e-3
"""The largest sine of an error angle that is still called certified."""


def certificate(report: OverlapReport) -> Iterator[str]:
    """Which path was taken how often, the worst error angle, and what is not unique."""
    found = _subspaces(report)
    paths = _paths(report, found)
    if paths:
        yield f"Subspaces: {paths}."
    known = [s.angle_bound for s in found if s.angle_bound is not None]
    sure = [bound for bound in known if bound < CERTIFIED]
    if sure:
        yield f"Subspaces certified: the largest error angle is below {max(sure):.1e} (sine)."
    if len(sure) < len(known):
        yield (
            f"{len(known) - len(sure)} are known to {max(known):.1g} (sine) only, where σ_k and "
            "σ_k+1 nearly agree."
        )
    unclear = len(found) - len(known)
    if unclear:
        are = "subspace is" if unclear == 1 else "subspaces are"
        which = "its overlap depends" if unclear == 1 else "their overlaps depend"
        yield (
            f"{unclear} {are} not unique (σ_k = σ_k+1 within rounding): {which} on an "
            "arbitrary choice."
        )


def interrupted(report: OverlapReport | CompareReport) -> str | None:
    """Of a report that was cut short, what it holds; else None."""
    if not report.partial:
        return None
    if isinstance(report, CompareReport):
        many, done = len(report.matrices), "compared"
    else:
        each = (sum(m.part is None for m in model.matrices) for model in report.models)
        many, done = max(each, default=0), "measured"
    return f"interrupted: {many} matri{'x' if many == 1 else 'ces'} {done}"


def _subspaces(report: OverlapReport) -> list[SubspaceRecord]:
    """Those of the base, once each: every model is measured against the same."""
    return list(
        {
            (matrix.name, matrix.expert, matrix.part): matrix.subspace
            for model in report.models
            for matrix in model.matrices
        }.values()
    )


def _paths(report: OverlapReport, found: list[SubspaceRecord]) -> str:
    counts = report.factorisations.model_dump()
    if not any(counts.values()):  # a report from before they were counted
        counts = dict(Counter(str(s.path) for s in found))
    said = {
        "exact": "{} by the exact path",
        "partial": "{} by the partial path",
        "fallback": "{} fell back to the exact one",
        "cached": "{} from the cache",
    }
    return ", ".join(text.format(counts[key]) for key, text in said.items() if counts.get(key))
