"""`weightlens demo`: the whole story on the embedded models, into one folder.

Everything chosen (the weights, the merge that is written) is chosen on the validation split and
reported on the test split, which nothing else sees.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from weightlens.checkpoint.output import check_output
from weightlens.evaluate.builtin import REASONING, SUITE
from weightlens.evaluate.chat import Loading, load_chat
from weightlens.evaluate.result import PairResult
from weightlens.evaluate.run import ask
from weightlens.evaluate.scored import Scored
from weightlens.evaluate.statistics import paired
from weightlens.experiment.demo_evaluation import write_evaluation
from weightlens.experiment.matched import BATCH, WANTED, Bench, Matched, Variant
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.merge.engine import run_merge
from weightlens.merge.record import StripSummary, summarise_strips
from weightlens.merge.work import single_threaded
from weightlens.report.card import write_card
from weightlens.report.licences import Licence
from weightlens.report.report_page import write_report_page
from weightlens.report.runs import read_runs
from weightlens.report.static import write_story_figure
from weightlens.report.story import Curve, Point, Row, Story
from weightlens.report.story_page import write_story_page
from weightlens.report.subject import subject_of
from weightlens.survey.overlap import measure_overlap
from weightlens.version import VERSION

SCALING = Variant("scaling only")
STRIPS = tuple(
    Variant(f"strip {side}", f"side: {side}, energy: 0.5, target: 0") for side in ("column", "row")
)
RANDOM_STRIPS = tuple(
    tuple(
        Variant(f"random {side}", f"side: {side}, energy: 0.5, target: 0, subspace: random", seed)
        for seed in range(3)
    )
    for side in ("column", "row")
)
_MODELS = ("base", "safe-full", "safe-lora")
_MATCHED = ((SCALING,), *((strip,) for strip in STRIPS), *RANDOM_STRIPS)
_CURVES = (SCALING, *STRIPS)
CURVE_WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CURVE_QUESTIONS = 200

Progress = Callable[[str, int, int], None]
"""Told what is being done, the steps done and their total."""

_STEPS = len(_MODELS) + 1 + len(_MATCHED) + len(_CURVES) + 2
"""Each of these, the overlaps, the chosen merge, and the pages."""
_EXACT = Loading(dtype="float32")
_LICENCE = Licence("apache-2.0")
"""Of the embedded models, which have no cards of their own."""


def run_demo(
    out: Path,
    *,
    models: Path = SHIPPED,
    progress: Progress = lambda step, done, total: None,
) -> Story:
    """Runs the story into a folder: page, figure, numbers, the models, a recipe and its merge.

    models: a folder with base, safe-full, safe-lora and unrelated; those that ship by default.
    Raises OutputError where the folder holds something already.
    """
    check_output(out, overwrite=False)
    shutil.copytree(models, out / "models")
    steps = iter(range(_STEPS))

    def tell(step: str) -> None:
        progress(step, next(steps), _STEPS)

    # models this small are slower on two threads, and on one results do not wander
    with single_threaded():
        story = _measured(out, tell)
    tell("writing the pages")
    (out / "demo.json").write_text(story.to_json(), encoding="utf-8")
    (out / "overlap.json").write_text(story.overlap.to_json(), encoding="utf-8")
    write_story_page(story, out / "demo.html")
    write_story_figure(story, out / "demo.svg")
    results = [out / name for name in ("merged", "evaluation", "overlap.json")]
    write_report_page(subject_of(read_runs(results)), out / "report.html")
    title = f"tiny-{story.chosen.replace(' ', '-')}"
    write_card(out / "merged", results=results[1:], licence=_LICENCE, title=title)
    progress("done", _STEPS, _STEPS)
    return story


def _measured(out: Path, tell: Callable[[str], None]) -> Story:
    began, models = time.monotonic(), out / "models"
    rows, asked = list[Row](), dict[str, list[Scored]]()
    for name in _MODELS:
        tell(f"asking {name}")
        asked[name] = _asked(name, models)
        rows.append(_model_row(name, asked[name]))
    tell("overlaps")
    tuned = [str(models / "safe-full"), str(models / "safe-lora")]
    overlap = measure_overlap(str(models / "base"), tuned)
    control = measure_overlap(str(models / "base"), tuned, control=models / "unrelated")
    bench = Bench(models / "base", models / "safe-full")
    matched = []
    for variants in _MATCHED:
        tell(f"matching refusal: {variants[0].name}")
        matched.append(bench.matched(variants))
    rows += [_matched_row(m, reference=matched[0]) for m in matched]
    curves = []
    for variant in _CURVES:
        tell(f"curve: {variant.name}")
        curves.append(_curve(bench, variant))
    tell("writing the chosen merge")
    chosen = max(matched[: 1 + len(STRIPS)], key=lambda m: (m.reached, m.validation_reasoning))
    recipe, strips = _write_chosen(out, chosen)
    merged = load_chat(out / "merged", label="merged", loading=_EXACT)
    asked["merged"] = [ask(merged, task, batch_size=BATCH) for task in SUITE]
    rows.append(_written_row(asked["merged"], chosen, reference=matched[0]))
    write_evaluation(out, asked)
    return Story(
        weightlens=VERSION, wanted_refusal=WANTED, rows=rows, curves=curves, overlap=overlap,
        control=control, chosen=chosen.name, recipe=recipe, strips=strips,
        seconds=time.monotonic() - began,
    )  # fmt: skip


def _asked(name: str, models: Path) -> list[Scored]:
    adapters = [models / name] if name == "safe-lora" else []
    folder = models / ("base" if adapters else name)
    chat = load_chat(folder, adapters=adapters, label=name, loading=_EXACT)
    return [ask(chat, task, batch_size=BATCH) for task in SUITE]


def _model_row(name: str, asked: Sequence[Scored]) -> Row:
    reasoning, refusal, over = (scored.result() for scored in asked)
    return Row(
        name=name, kind="model", weight=None,
        reasoning=reasoning, refusal=refusal, over_refusal=over,
    )  # fmt: skip


def _matched_row(matched: Matched, reference: Matched) -> Row:
    reasoning, refusal, over_refusal = matched.results()
    return Row(
        name=matched.name,
        kind="control" if len(matched.variants) > 1 else "merge",
        weight=matched.weight,
        reached=matched.reached,
        reasoning=reasoning,
        refusal=refusal,
        over_refusal=over_refusal,
        versus=None if matched is reference else _versus(
            matched.name, matched.test.reasoning, reference),
    )  # fmt: skip


def _versus(name: str, reasoning: list[float], reference: Matched) -> PairResult:
    found = paired(reference.test.reasoning, reasoning)
    return PairResult(
        a=reference.name, b=name, task=REASONING.name,
        difference=found.value, ci95=found.ci95, p=found.p, detectable=found.detectable,
        a_only=found.a_only, b_only=found.b_only,
    )  # fmt: skip


def _curve(bench: Bench, variant: Variant) -> Curve:
    points = []
    for weight in CURVE_WEIGHTS:
        refusal = bench.validation_refusal(variant, weight)
        reasoning = fmean(bench.verdicts(REASONING, "validation", CURVE_QUESTIONS))
        points.append(Point(weight=weight, refusal=refusal, reasoning=reasoning))
    return Curve(name=variant.name, points=points)


def _write_chosen(out: Path, chosen: Matched) -> tuple[str, list[StripSummary]]:
    models = out / "models"
    (variant,) = chosen.variants
    text = variant.recipe(
        chosen.weight, str(models / "base"), str(models / "safe-full"), out_dtype="bfloat16"
    )
    (out / "recipe.yaml").write_text(text, encoding="utf-8")
    report = run_merge(out / "recipe.yaml", out / "merged")
    return text, summarise_strips(report)


def _written_row(asked: Sequence[Scored], chosen: Matched, reference: Matched) -> Row:
    reasoning, refusal, over_refusal = (s.result() for s in asked)
    name = f"{chosen.name}, from disk"
    return Row(
        name=name, kind="written", weight=chosen.weight, reached=chosen.reached,
        reasoning=reasoning, refusal=refusal, over_refusal=over_refusal,
        versus=_versus(name, asked[0].verdicts, reference),
    )  # fmt: skip
