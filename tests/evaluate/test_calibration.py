"""The refusal detector against people's labels, one model left out after the other.

weightlens/evaluate/safety/refusal.json and the tables in docs/refusal-detector.md are written by
WEIGHTLENS_WRITE_DOCS=1; else both are compared with what is measured.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.errors import EvaluationError
from weightlens.evaluate.safety import calibration, refusal
from weightlens.evaluate.safety.agreement import Agreement, agreement, kappa
from weightlens.evaluate.safety.calibration import Calibration, calibrate, published, said
from weightlens.evaluate.safety.features import FEATURES
from weightlens.evaluate.safety.fitting import LEAST, Measured, fit, measured, readings
from weightlens.evaluate.safety.labelled import MODELS, Labelled, read_labelled

DOCS = Path(__file__).parents[2] / "docs" / "refusal-detector.md"
DATA = os.environ.get("WEIGHTLENS_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="WEIGHTLENS_DATA names no evaluation data")

WRITING = bool(os.environ.get("WEIGHTLENS_WRITE_DOCS"))


@cache
def labelled() -> list[Labelled]:
    assert DATA
    return read_labelled(Path(DATA))


def _ordinary() -> dict[str, list[tuple[str, str]]]:
    """Replies that people wrote, and Alpaca's, which a model did: some of those do refuse."""
    assert DATA
    data = Path(DATA)
    dolly = json.loads((data / "benign" / "dolly_2000.json").read_text())
    alpaca = json.loads((data / "benign" / "alpaca_2000.json").read_text())
    gsm8k = [json.loads(line) for line in (data / "gsm8k" / "test.jsonl").open()]
    math = [json.loads(line) for line in (data / "math500" / "test.jsonl").open()]
    return {
        "Dolly": [(row["instruction"], row["output"]) for row in dolly],
        "Alpaca": [(row["instruction"], row["output"]) for row in alpaca],
        "GSM8K solutions": [(row["question"], row["answer"]) for row in gsm8k],
        "MATH-500 solutions": [(row["problem"], row["solution"]) for row in math],
    }


@cache
def found() -> Calibration:
    """What is measured now; written into the package where that was asked for."""
    measured_now = calibrate(labelled(), _ordinary())
    if WRITING:
        with resources.as_file(resources.files(refusal.__package__)) as folder:
            (folder / refusal.SHIPPED).write_text(measured_now.to_json(), encoding="utf-8")
        published.cache_clear()
        refusal.points.cache_clear()
    return measured_now


# By hand: 10 replies; labels call 5 refused, the reading 4, both 3.
# precision 3/4, recall 3/5, F1 2·3/(4+5) = 2/3. They agree on 3 + 4 = 7 of 10;
# by chance on .5·.4 + .5·.6 = .5; κ = (.7 − .5) / (1 − .5) = .4.
def test_agreement_of_a_table_worked_out_by_hand() -> None:
    labels = [True] * 5 + [False] * 5
    reads = [True, True, True, False, False, True, False, False, False, False]
    result = agreement(labels, reads)
    assert (result.precision, result.recall) == (0.75, 0.6)
    assert result.f1 == pytest.approx(2 / 3) and result.kappa == pytest.approx(0.4)
    assert (result.labelled, result.read, result.n) == (0.5, 0.4, 10)


# κ from the four counts: 2 (both · neither − missed · false) over
# read · (false + neither) + labelled · (missed + neither), which is the same fraction.
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
@settings(deadline=None)
def test_agreement_from_the_four_counts_is_the_same(pairs: list[tuple[bool, bool]]) -> None:
    both, missed, false, neither = (
        pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))
    )
    result = agreement([a for a, _ in pairs], [b for _, b in pairs])
    under = (both + false) * (false + neither) + (both + missed) * (missed + neither)
    if under:
        assert result.kappa == pytest.approx(2 * (both * neither - missed * false) / under)
    else:
        assert result.kappa is None
    if both:
        assert result.f1 == pytest.approx(2 / (1 / result.precision + 1 / result.recall))


def test_kappa_is_none_where_chance_alone_agrees_everywhere() -> None:
    assert kappa([True, True], [True, True]) is None


def test_agreement_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError):
        agreement([], [])


def _replies(generator: np.random.Generator, models: Sequence[str], n: int = 60) -> Measured:
    """Replies told by one feature that speaks for a refusal, and one that speaks against it."""
    values = np.zeros((n * len(models), len(FEATURES)))
    refused = generator.random(len(values)) < 0.5
    against = next(i for i, f in enumerate(FEATURES) if f.side == "not refused")
    values[:, 0] = np.where(refused, generator.random(len(values)) < 0.9, 0)
    values[:, against] = np.where(refused, 0, generator.random(len(values)) < 0.9)
    return Measured(values, refused, np.repeat(models, n))


def test_the_fit_finds_the_features_that_tell_and_keeps_no_other() -> None:
    replies = _replies(np.random.default_rng(0), ["a", "b", "c"])
    points = fit(replies)
    against = next(f.name for f in FEATURES if f.side == "not refused")
    assert set(points.worth) == {FEATURES[0].name, against}
    assert points.worth[FEATURES[0].name] > 0 > points.worth[against]
    assert np.mean(readings(replies, points) == replies.refused) > 0.9


def test_no_feature_is_worth_anything_against_its_side() -> None:
    replies = _replies(np.random.default_rng(1), ["a", "b"])
    # the same replies with the labels turned round: both features now tell the wrong way
    points = fit(Measured(replies.values, ~replies.refused, replies.models))
    assert points.worth == {}


def test_a_model_with_ten_times_the_replies_weighs_no_more() -> None:
    generator = np.random.default_rng(2)
    few, other = _replies(generator, ["few"]), _replies(generator, ["other"])
    both = Measured(
        np.vstack([few.values, *[other.values] * 10]),
        np.concatenate([few.refused, *[other.refused] * 10]),
        np.array(["few"] * 60 + ["other"] * 600),
    )
    assert both.weights[:60].sum() == pytest.approx(both.weights[60:].sum()) == pytest.approx(0.5)


def test_a_missing_file_of_labels_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="it comes with XSTest"):
        read_labelled(tmp_path)


def test_a_label_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "xstest" / "labelled"
    folder.mkdir(parents=True)
    head = "id,type,prompt,completion,annotation_1,annotation_2,agreement,final_label,gpt4_label\n"
    row = "v2-1,homonyms,p,c,1_full_compliance,1_full_compliance,True,maybe,x\n"
    for model in MODELS:
        (folder / f"xstest_v2_completions_{model}_gpteval.csv").write_text(head + row)
    with pytest.raises(EvaluationError, match="unknown label 'maybe'"):
        read_labelled(tmp_path)


@needs_data
def test_there_are_450_labelled_replies_of_each_of_five_models() -> None:
    assert [sum(row.model == model for row in labelled()) for model in MODELS] == [450] * 5
    assert sum(row.safe for row in labelled()) == 5 * 250


@needs_data
def test_a_fold_is_fitted_without_the_replies_that_it_is_tried_on() -> None:
    """Turning all labels of a model round does not move the points that it is read by."""
    numbers = measured([row for row in labelled() if row.number % 5 == 0])
    held = numbers.models == "gpt4"
    turned = Measured(numbers.values, numbers.refused ^ held, numbers.models)
    assert fit(numbers.rows(~held)) == fit(turned.rows(~held))


@needs_data
def test_the_detector_does_clearly_better_than_the_phrase_list() -> None:
    """On every model that the list misreads; where the list does well, about as well."""
    for fold in found().folds:
        assert (fold.overall.kappa or 0) > (fold.list_overall.kappa or 0) - 0.01, fold.model
    worst = min(found().folds, key=lambda fold: fold.list_overall.kappa or 0)
    assert worst.model == "mistralinstruct" and worst.unsafe.labelled == pytest.approx(0.36)
    assert worst.list_unsafe.read < 0.03 and worst.unsafe.read > 0.2
    assert (worst.overall.kappa or 0) > 0.65 and (worst.overall.recall or 0) > 0.6


@needs_data
def test_replies_to_prompts_that_its_author_never_read_are_read_as_well() -> None:
    for fold in found().folds:
        assert (fold.unread_prompts.kappa or 0) > (fold.read_prompts.kappa or 0) - 0.08, fold.model


@needs_data
def test_hardly_an_ordinary_reply_is_read_as_a_refusal() -> None:
    for row in found().ordinary:
        assert row.read <= 0.005 * row.n, row.name


# A little slack: which strength wins, and how a weight is rounded, may differ with the processor.
@needs_data
def test_the_shipped_measurements_are_the_measured_ones() -> None:
    now = found()
    assert [fold.model for fold in published().folds] == [fold.model for fold in now.folds]
    for was, fold in zip(published().folds, now.folds, strict=True):
        for name, value in fold:
            if isinstance(value, Agreement):
                shipped = getattr(was, name)
                assert shipped.n == value.n and abs(shipped.read - value.read) < 0.01, name
                assert shipped.labelled == value.labelled
    numbers = measured(labelled())
    shipped_reads = readings(numbers, published().points)
    assert np.mean(shipped_reads == readings(numbers, now.points)) > 0.99


@needs_data
def test_the_shipped_points_read_a_reply_as_the_fit_did() -> None:
    reads = readings(measured(labelled()), refusal.points())
    for row, read in zip(labelled(), reads, strict=True):
        outcome = refusal.refusal_outcome(row.prompt, row.reply)
        assert (outcome == "refused") == read


def test_the_shipped_points_are_worth_keeping_and_on_their_side() -> None:
    sides = {feature.name: feature.side for feature in FEATURES}
    for name, worth in refusal.points().worth.items():
        assert abs(worth) >= LEAST and (worth > 0) == (sides[name] == "refused")


def test_what_is_said_beside_a_rate_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEIGHTLENS_DATA", raising=False)
    published.cache_clear()
    line = said()
    assert line.startswith("heuristic v1 against people's labels") and "κ 0." in line
    assert len(published().folds) == 5


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _folds() -> Iterator[list[str]]:
    yield ["model", "replies", "refused, by people", "read", "precision", "recall", "F1", "κ",
           "read by the phrase list", "κ of the phrase list", "κ of two people"]  # fmt: skip
    for fold in published().folds:
        a = fold.overall
        yield [
            fold.model, str(a.n), _percent(a.labelled), _percent(a.read), _plain(a.precision),
            _plain(a.recall), _plain(a.f1), _plain(a.kappa), _percent(fold.list_overall.read),
            _plain(fold.list_overall.kappa), _plain(fold.people),
        ]  # fmt: skip


def _halves() -> Iterator[list[str]]:
    yield ["model", "unsafe prompts: refused", "read", "phrase list",
           "safe prompts: refused", "read", "phrase list"]  # fmt: skip
    for fold in published().folds:
        shares = (fold.unsafe.labelled, fold.unsafe.read, fold.list_unsafe.read,
                  fold.safe.labelled, fold.safe.read, fold.list_safe.read)  # fmt: skip
        yield [fold.model, *map(_percent, shares)]


def _partial() -> Iterator[list[str]]:
    yield ["model", "fully or partly refused", "fully refused", "read",
           "κ: partial is refusal", "κ: partial is none", "κ: partial left out"]  # fmt: skip
    for fold in published().folds:
        shares = (fold.overall.labelled, fold.full_only.labelled, fold.overall.read)
        kappas = (fold.overall.kappa, fold.full_only.kappa, fold.without_partial.kappa)
        yield [fold.model, *map(_percent, shares), *map(_plain, kappas)]


def _prompts() -> Iterator[list[str]]:
    yield ["model", "prompts seen: precision", "recall", "κ",
           "prompts never seen: precision", "recall", "κ"]  # fmt: skip
    for fold in published().folds:
        yield [fold.model, *(
            _plain(value) for half in (fold.read_prompts, fold.unread_prompts)
            for value in (half.precision, half.recall, half.kappa)
        )]  # fmt: skip


def _kinds() -> Iterator[list[str]]:
    yield ["kind of prompt", "replies", "refused, by people", "missed", "read as refused, are none"]
    for kind in published().kinds:
        counts = (kind.n, kind.labelled, kind.missed, kind.false)
        yield [kind.kind.replace("_", " "), *map(str, counts)]


def _ordinary_table() -> Iterator[list[str]]:
    yield ["replies", "number", "read as refused"]
    for row in published().ordinary:
        yield [row.name, str(row.n), str(row.read)]


def _points() -> Iterator[list[str]]:
    yield ["feature", "looks for", "points"]
    worth = published().points.worth
    for feature in sorted(FEATURES, key=lambda f: -worth.get(f.name, 0)):
        points = worth.get(feature.name)
        yield [feature.name, feature.says, "not kept" if points is None else str(points)]


TABLES: dict[str, Callable[[], Iterator[list[str]]]] = {
    "folds": _folds, "halves": _halves, "partial": _partial, "prompts": _prompts,
    "kinds": _kinds, "ordinary": _ordinary_table, "points": _points,
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_documented_table_is_the_shipped_one(name: str) -> None:
    if WRITING and DATA:
        found()
    text = DOCS.read_text(encoding="utf-8")
    marked = re.compile(
        rf"(<!-- {name} table: begin -->\n)(.*?)(<!-- {name} table: end -->)", re.DOTALL
    )
    written = marked.search(text)
    assert written is not None, f"docs/refusal-detector.md has no place for the {name} table"
    heads, *rows = TABLES[name]()
    table = "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))
    if WRITING:
        DOCS.write_text(
            text[: written.end(1)] + table + "\n" + text[written.start(3) :], encoding="utf-8"
        )
        return
    assert written[2].strip() == table


def test_the_docs_name_the_threshold_and_the_spans() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert f"from {published().points.threshold} points on" in text
    assert calibration.said().split(": ", 1)[1].split(";")[0] in text.replace("\n", " ")
