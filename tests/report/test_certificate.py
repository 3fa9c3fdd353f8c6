"""Sentences about how the subspaces were found."""

from samples import everything, model, report, rounded

from weightlens.report.certificate import certificate, interrupted, rounding_warning
from weightlens.survey.result import Factorisations


def test_paths_and_the_worst_angle_are_told_once_for_all_models() -> None:
    paths, angle = certificate(everything())
    assert paths == (
        "Subspaces: 12 by the partial path, 1 fell back to the exact one, 3 from the cache."
    )
    assert angle == "Subspaces certified: the largest error angle is below 2.6e-09 (sine)."


def test_paths_are_counted_from_the_matrices_of_an_old_report() -> None:
    old = report([model("a"), model("b")]).model_copy(update={"factorisations": Factorisations()})
    assert next(certificate(old)) == "Subspaces: 28 by the exact path."


def test_subspaces_that_are_not_unique_are_counted() -> None:
    made = model("a", layers=1)
    vague = [
        m.model_copy(update={"subspace": m.subspace.model_copy(update={"angle_bound": None})})
        for m in made.matrices[:2]
    ]
    for few, said in ((1, "1 subspace is not unique"), (2, "2 subspaces are not unique")):
        matrices = [*vague[:few], *made.matrices[few:]]
        lines = list(certificate(report([made.model_copy(update={"matrices": matrices})])))
        assert lines[-1].startswith(said)


def test_only_a_partial_report_was_interrupted() -> None:
    assert interrupted(everything()) is None
    cut = everything().model_copy(update={"partial": True})
    assert interrupted(cut) == "interrupted: 16 matrices measured"


def test_rounding_is_warned_of_from_half_of_the_delta_on() -> None:
    half, less = rounded("half", 0.5), rounded("less", 0.499)
    assert rounding_warning(report([less]), less) is None
    assert rounding_warning(report([half]), half) == (
        "rounding to the file's dtype explains most of this delta (50 %); its overlaps say little "
        "about what was learned"
    )
    both = report([half, less])
    assert "most of the delta of half (50 %)" in str(rounding_warning(both, half))
