"""Which results belong to a merge, and what sentence they carry."""

import shutil
from pathlib import Path

import pytest
from evaluated import REFUSALS, kept, pair, reply, result
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
from weightlens.report.matching import same_weights
from weightlens.report.runs import Run, read_runs
from weightlens.report.subject import Evaluated, Merged, Subject, Trial, subject_of, trial_of
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


@pytest.mark.parametrize(
    ("higher_is_better", "other"), [(False, "few"), (True, "many")], ids=["lower", "higher"]
)
def test_without_a_base_the_other_is_the_source_that_is_best(
    tmp_path: Path, higher_is_better: bool, other: str
) -> None:
    shares = {"few": 4, "many": 36, MERGED: 34}
    group = "unsafe" if higher_is_better else "safe"
    tasks, files = {}, []
    for model, count in shares.items():
        tasks[model] = [result("asked", count / N, group=group, metric=REFUSALS, n=N,
                               higher_is_better=higher_is_better)]  # fmt: skip
        replies = [reply(f"r/{i}", refused=i < count, group=group) for i in range(N)]
        files.append(kept(tmp_path, model, "asked", replies))
    trial = Trial(
        Evaluated(tmp_path / "eval.json", evaluation_of(tasks, answers=files)),
        MERGED, None, ("few", "many"), (),
    )  # fmt: skip
    merged = Merged(tmp_path / "merged" / "weightlens.json", merge_report(), None)
    found = verdict_of(merged, trial)
    (line,) = found.lines
    assert line.words.startswith(f"against {other} ")
    if not higher_is_better:
        assert "Refuses 75.0 points more harmless requests than few" in found.sentence
        assert line.tone == "bad"


@pytest.mark.parametrize(
    ("higher_is_better", "merge", "said"),
    [
        (True, 0.6, "Loses 30.0 points of sums against base, where low loses 50.0;"),
        (False, 0.95, "Gains 30.0 points of sums against base, where high gains 34.0;"),
        (False, 0.35, "Loses 30.0 points of sums against base;"),
    ],
    ids=["worse", "worse where lower is better", "better where lower is better"],
)
def test_the_source_beside_a_loss_is_the_one_that_lost_most(
    tmp_path: Path, higher_is_better: bool, merge: float, said: str
) -> None:
    base = 0.9 if higher_is_better else 0.65
    values = {BASE: base, "low": base - 0.5, "high": 0.99, MERGED: merge}
    tasks = {
        model: [result("sums", value, n=N, higher_is_better=higher_is_better)]
        for model, value in values.items()
    }
    way = 1 if merge > base else -1
    shown = pair(BASE, MERGED, "sums", difference=way * 0.3, p=1e-4,
                 ci95=tuple(sorted((way * 0.4, way * 0.2))))  # fmt: skip
    trial = Trial(
        Evaluated(tmp_path / "eval.json", evaluation_of(tasks, [shown])),
        MERGED, BASE, ("low", "high"), (),
    )  # fmt: skip
    merged = Merged(tmp_path / "merged" / "weightlens.json", merge_report(), None)
    assert verdict_of(merged, trial).sentence.startswith(said)


def test_an_adapter_on_another_base_is_not_the_merge(tmp_path: Path) -> None:
    merged = Merged(tmp_path / "lora" / "weightlens.json", merge_report(), "ff")
    report = evaluation_of({"other/base+lora": [result("sums")], "their/lora": [result("sums")]})
    models = [
        model.model_copy(update={"hash": hash_})
        for model, hash_ in zip(report.models, ("c1+ff", "ff+c1"), strict=True)
    ]
    evaluated = Evaluated(tmp_path / "eval.json", report.model_copy(update={"models": models}))
    found = trial_of(merged, evaluated)
    assert isinstance(found, str)
    assert "other/base+lora is lora on another base than the merge's, so its scores" in found


@pytest.mark.parametrize(
    ("asked", "own", "base", "same"),
    [
        ("ff", "ff", None, True),
        ("b1+ff", "ff", "b1", True),
        ("b1+b2+ff", "ff", "b1+b2", True),
        ("c1+ff", "ff", "b1", False),
        ("b1+ff", "ff", None, False),
        ("None+ff", "ff", None, False),
        ("b1", "ff", "b1", False),
    ],
)
def test_an_adapter_is_what_it_is_on_its_base_alone(
    asked: str, own: str, base: str | None, same: bool
) -> None:
    assert same_weights(asked, own, base) is same
