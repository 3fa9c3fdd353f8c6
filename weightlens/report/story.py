"""What a page about a merge experiment shows: models, merges at matched refusal, overlaps."""

from typing import Literal

from pydantic import Field

from weightlens.evaluate.result import PairResult, TaskResult
from weightlens.merge.record import StripSummary
from weightlens.record import Record
from weightlens.survey.result import OverlapReport


class Row(Record):
    """One model or merge. weight: factor of the delta, None for a model as it is; reached: whether
    the wanted refusal was reached at all. versus: reasoning against scaling only, paired."""

    name: str
    kind: Literal["model", "merge", "control", "written"]
    weight: float | None
    reached: bool = True
    reasoning: TaskResult
    refusal: TaskResult
    over_refusal: TaskResult
    versus: PairResult | None = None


class Point(Record):
    """A merge at one weight, on the validation split."""

    weight: float
    refusal: float
    reasoning: float


class Curve(Record):
    """A merge method over a range of weights."""

    name: str
    points: list[Point]


class Story(Record):
    """Everything that the demo measured."""

    schema_: Literal["weightlens.demo/1"] = Field(default="weightlens.demo/1", alias="schema")
    weightlens: str
    wanted_refusal: float
    rows: list[Row]
    curves: list[Curve]
    overlap: OverlapReport
    control: OverlapReport
    chosen: str
    recipe: str
    strips: list[StripSummary]
    seconds: float


def frontier(curves: list[Curve]) -> list[Point]:
    """The points that no other beats in both refusal and reasoning, by rising refusal."""
    points = [p for curve in curves for p in curve.points]
    kept = [
        p
        for p in points
        if not any(
            q.refusal >= p.refusal
            and q.reasoning >= p.reasoning
            and (q.refusal, q.reasoning) != (p.refusal, p.reasoning)
            for q in points
        )
    ]
    return sorted(kept, key=lambda p: (p.refusal, -p.reasoning))
