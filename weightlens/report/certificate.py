"""How the base's subspaces were found, how sure they are, and what a delta says, in sentences."""

from collections import Counter
from collections.abc import Iterator

from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import ModelRecord, OverlapReport, SubspaceRecord

CERTIFIED = 1e-3
"""The largest sine of an error angle that is still called certified."""
MOSTLY_ROUNDING = 0.5
"""The rounding share, over all matrices, from which on a delta is warned of."""


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


def rounding_warning(report: OverlapReport, model: ModelRecord) -> str | None:
    """Of a delta that is mostly rounding, that its overlaps say little; else None.

    It names the model where the report has several.
    """
    share = model.summary.all.rounding_share
    if share is None or share < MOSTLY_ROUNDING:
        return None
    of = f"this delta ({_share(share)})"
    if len(report.models) > 1:
        of = f"the delta of {model.model} ({_share(share)})"
    return (
        f"rounding to the file's dtype explains most of {of}; its overlaps say little about what "
        "was learned"
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


def _share(share: float) -> str:
    return f"{100 * share:,.0f} %"
