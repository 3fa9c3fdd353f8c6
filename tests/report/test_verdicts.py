"""Which results belong to a merge, and what sentence they carry."""

import shutil
from pathlib import Path

import pytest
from evaluated import pair, result
from evaluated import report as evaluation_of
from reported import (
    BASE,
    MERGED,
    TUNED,
    N,
    merge_report,
    write_evaluation,
    write_everything,
    write_merge,
)

from weightlens.evaluate.result import EvalReport
from weightlens.report.runs import Run, read_runs
from weightlens.report.subject import Merged, Subject, subject_of
from weightlens.report.verdict import Verdict, verdict_of


def verdict(subject: Subject) -> Verdict:
    (merge,) = subject.merges
    return verdict_of(*merge)


def test_models_are_matched_by_the_hashes_of_their_weights(tmp_path: Path) -> None:
    subject = subject_of(read_runs(write_everything(tmp_path)))
    ((merged, trial),) = subject.merges
    assert trial is not None
    assert (trial.merge, trial.base, trial.sources) == (MERGED, BASE, (TUNED,))
    assert merged.name == "merged"
    assert subject.notes == []


def test_the_sentence_says_what_was_kept_and_how_it_refuses(tmp_path: Path) -> None:
    found = verdict(subject_of(read_runs(write_everything(tmp_path))))
    # 37 of 40 against 38 shows nothing; 39 of 40 refusals against 40 neither, paired from answers
    assert found.sentence == (
        "Keeps sums: no detectable loss against base (one of 19 points would have shown); refuses "
        "97.5 % of harmful requests, no detectable difference from tuned; refuses detectably no "
        "more harmless requests than base."
    )
    assert [line.tone for line in found.lines] == ["good", "good", "good"]
    refusal = found.lines[1]
    assert refusal.about == "asked unsafe"
    assert refusal.words.startswith("against tuned (97.5 beside 100.0): no detectable loss: −2.5")


def test_without_answers_what_was_not_paired_is_said_side_by_side(tmp_path: Path) -> None:
    merge_hash = write_merge(tmp_path / "merged")
    write_evaluation(tmp_path / "evaluation", merge_hash, answers=False)
    found = verdict(subject_of(read_runs([tmp_path / "merged", tmp_path / "evaluation"])))
    assert "refuses 97.5 % of harmful requests, beside 100.0 % by tuned" in found.sentence
    assert found.lines[1].tone == "open"
    assert "the answers are not at hand" in found.lines[1].words


def test_without_an_evaluation_the_verdict_is_the_command_to_run(tmp_path: Path) -> None:
    write_merge(tmp_path / "merged")
    found = verdict(subject_of(read_runs([tmp_path / "merged"])))
    assert found.sentence.startswith("Not evaluated: run `weightlens eval models/base models/tuned")
    assert found.lines == []


def test_a_merge_written_again_since_is_not_given_the_old_scores(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluation", write_merge(tmp_path / "merged"))
    shutil.rmtree(tmp_path / "merged")
    write_merge(tmp_path / "merged", weights=2.0)
    subject = subject_of(read_runs([tmp_path / "merged", tmp_path / "evaluation"]))
    assert subject.merges[0][1] is None
    (note,) = subject.notes
    assert "other weights" in note


def test_an_evaluation_of_other_models_is_not_mixed_in(tmp_path: Path) -> None:
    write_merge(tmp_path / "another")
    write_evaluation(tmp_path / "evaluation", "c" * 32)
    subject = subject_of(read_runs([tmp_path / "another", tmp_path / "evaluation"]))
    assert subject.merges[0][1] is None
    assert "does not hold the merge another" in subject.notes[0]


def test_without_hashes_names_have_to_do_and_that_is_said(tmp_path: Path) -> None:
    write_merge(tmp_path / "merged")
    write_evaluation(tmp_path / "evaluation", None)
    subject = subject_of(read_runs([tmp_path / "merged", tmp_path / "evaluation"]))
    assert subject.merges[0][1] is not None
    assert "by its name alone: the evaluation has no hash of it" in subject.notes[0]


def test_an_adapter_is_known_in_a_sum_with_its_base(tmp_path: Path) -> None:
    merged = Merged(tmp_path / "lora" / "weightlens.json", merge_report(), "ff")
    tasks = {f"{BASE}+lora": [result("sums")]}
    report = evaluation_of(tasks)
    report = report.model_copy(
        update={"models": [report.models[0].model_copy(update={"hash": "b1+ff"})]}
    )
    from weightlens.report.subject import Evaluated, Trial, trial_of

    found = trial_of(merged, Evaluated(tmp_path / "eval.json", report))
    assert isinstance(found, Trial)
    assert found.merge == f"{BASE}+lora"


def lost(**changed: float | tuple[float, float]) -> EvalReport:
    """A merge that is compared with its base on sums alone."""
    tasks = {BASE: [result("sums", 0.9, n=N)], MERGED: [result("sums", 0.6, n=N)]}
    return evaluation_of(tasks, [pair(BASE, MERGED, "sums", **changed)])


@pytest.mark.parametrize(
    ("pairs", "claim", "tone"),
    [
        ({"difference": -0.3, "ci95": (-0.4, -0.2), "p": 1e-4}, "Loses 30.0 points of sums", "bad"),
        ({"difference": 0.1, "ci95": (0.02, 0.2), "p": 0.01}, "Gains 10.0 points of sums", "good"),
        # the interval leaves out 0, and the test does not
        ({"difference": -0.1, "ci95": (-0.2, -0.01), "p": 0.07}, "Perhaps loses 10.0", "open"),
    ],
)
def test_a_change_is_claimed_only_where_it_shows(
    tmp_path: Path, pairs: dict[str, float], claim: str, tone: str
) -> None:
    write_merge(tmp_path / "merged")
    (merge_run,) = read_runs([tmp_path / "merged"])
    models = [m.model_copy(update={"hash": None}) for m in lost(**pairs).models]
    report = lost(**pairs).model_copy(update={"models": models})
    found = verdict(subject_of([merge_run, Run(tmp_path / "eval.json", report)]))
    assert found.sentence.startswith(claim)
    assert found.sentence.endswith("; refusal was not measured.")
    assert found.lines[0].tone == tone
