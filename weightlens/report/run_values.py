"""What two results of one kind say of the same things."""

from pathlib import Path, PurePosixPath

from weightlens.errors import EvaluationError
from weightlens.evaluate.result import EvalReport, ModelResult, TaskResult
from weightlens.evaluate.significance import sentence
from weightlens.evaluate.statistics import Difference, paired_by_question
from weightlens.merge.record import MergeReport, SourceRecord
from weightlens.record import Record
from weightlens.report.eval_parts import Part, compared_parts, in_percent
from weightlens.report.grid import Side, mean_over_chance, short_modules
from weightlens.report.names import short_models
from weightlens.report.paired_answers import verdicts_of
from weightlens.report.recipe_text import methods_of
from weightlens.report.strip_parts import strips_of
from weightlens.survey.result import ModelRecord, OverlapReport

_SIDES: tuple[Side, ...] = ("column", "row")


class Value(Record):
    """difference: b − a. ci95, p, sentence: where it was paired question by question."""

    what: str
    a: float | str | None
    b: float | str | None
    difference: float | None = None
    ci95: tuple[float, float] | None = None
    p: float | None = None
    sentence: str = ""


def merge_values(a: MergeReport, b: MergeReport) -> tuple[list[Value], list[str]]:
    """Methods, models, and the overlap that each strip left as written."""
    values = [
        _said("method", " and ".join(methods_of(a.recipe)), " and ".join(methods_of(b.recipe))),
        _said("base", *(_source(report.base) for report in (a, b))),
    ]
    for i in range(max(len(a.sources), len(b.sources))):
        both = [report.sources[i] if i < len(report.sources) else None for report in (a, b)]
        values.append(_said(f"source {i + 1}", *map(_source, both)))
    values.append(_said("seed", str(a.seed), str(b.seed)))
    values.append(_numbers("bytes", float(a.bytes), float(b.bytes)))
    values += _strip_values(a, b)
    return values, []


def _strip_values(a: MergeReport, b: MergeReport) -> list[Value]:
    stages = {"before": "before", "written": "as written"}
    read = [
        {
            f"{s.summary.side} overlap of {s.source}, {words}": float(getattr(s.summary, stage))
            for s in strips_of(report)
            for stage, words in stages.items()
        }
        for report in (a, b)
    ]
    return [_numbers(what, read[0].get(what), read[1].get(what)) for what in {**read[0], **read[1]}]


def evaluation_values(
    a: EvalReport, file_a: Path, b: EvalReport, file_b: Path
) -> tuple[list[Value], list[str]]:
    """Scores of the models that both asked, by the hash of their weights or else by name."""
    values, notes = list[Value](), list[str]()
    common = _common(a, b)
    if not common:
        notes.append("No model was asked in both, neither by its weights nor by its name.")
    for one, other in common:
        if None not in (one.hash, other.hash) and one.hash != other.hash:
            notes.append(f"{_end(one.model)}: one name, other weights.")
        for part in compared_parts(b).values():
            scored = [_result(model, part) for model in (one, other)]
            if scored[0] is None or scored[1] is None:
                continue
            what = f"{_end(one.model)}: {part.label}"
            if scored[0].version != scored[1].version:
                notes.append(f"{what}: versions {scored[0].version} and {scored[1].version} of "
                             "the task are not compared.")  # fmt: skip
                continue
            sides = ((a, file_a.parent, one), (b, file_b.parent, other))
            verdicts = [verdicts_of(r, folder, model.model, part) for r, folder, model in sides]
            values.append(_score(what, part, (scored[0], scored[1]), (verdicts[0], verdicts[1])))
    return values, notes


def _score(
    what: str,
    part: Part,
    scored: tuple[TaskResult, TaskResult],
    verdicts: tuple[dict[str, list[float]], dict[str, list[float]]],
) -> Value:
    plain = _numbers(what, scored[0].value, scored[1].value)
    if not in_percent(part.metric) or not all(verdicts):
        return plain
    try:
        found = paired_by_question(*verdicts)
    except EvaluationError:
        return plain
    difference: Difference = found.difference
    said = sentence(difference, n=found.n, higher_is_better=part.higher_is_better)
    left = f"; {found.left_out}" if found.left_out else ""
    return Value(
        what=what, a=scored[0].value, b=scored[1].value, difference=difference.value,
        ci95=difference.ci95, p=difference.p, sentence=said + left,
    )  # fmt: skip


def overlap_values(a: OverlapReport, b: OverlapReport) -> tuple[list[Value], list[str]]:
    """Overlap over chance by module, of models of one name; of the only models whatever theirs."""
    notes = []
    if (a.subspace, a.against) != (b.subspace, b.against):
        sizes = [f"{r.subspace.by} {r.subspace.value:g} of {r.against}" for r in (a, b)]
        notes.append(f"The subspaces are not the same: {sizes[0]}, and {sizes[1]}.")
    if len(a.models) == len(b.models) == 1:
        pairs = [(a.models[0], b.models[0])]
    else:
        named = {_end(model.model): model for model in b.models}
        pairs = [(m, named[_end(m.model)]) for m in a.models if _end(m.model) in named]
    if not pairs:
        notes.append("No model of one name was measured in both.")
    names = short_models([one.model for one, _ in pairs])
    values = [
        value
        for name, (one, other) in zip(names, pairs, strict=True)
        for value in _module_values(name, one, other)
    ]
    return values, notes


def _module_values(name: str, a: ModelRecord, b: ModelRecord) -> list[Value]:
    modules = short_modules([*a.summary.modules, *b.summary.modules])
    values = []
    for side in _SIDES:
        for module, short in modules.items():
            means = (m.summary.modules.get(module) for m in (a, b))
            ratios = [mean_over_chance(mean, side) for mean in means]
            values.append(_numbers(f"{name}: {short}, {side} ÷ chance", *ratios))
        ratios = [mean_over_chance(m.summary.all, side) for m in (a, b)]
        values.append(_numbers(f"{name}: all, {side} ÷ chance", *ratios))
    return values


def _common(a: EvalReport, b: EvalReport) -> list[tuple[ModelResult, ModelResult]]:
    hashes = {m.hash: m for m in b.models if m.hash is not None}
    names = {_end(m.model): m for m in b.models}
    found = [(m, hashes.get(m.hash or "") or names.get(_end(m.model))) for m in a.models]
    return [(one, other) for one, other in found if other is not None]


def _result(model: ModelResult, part: Part) -> TaskResult | None:
    wanted = (part.task, part.group, part.metric)
    return next((t for t in model.tasks if (t.task, t.group, t.metric) == wanted), None)


def _source(source: SourceRecord | None) -> str:
    if source is None:
        return "–"
    which = source.commit or source.hash
    return source.model if which is None else f"{source.model} ({which[:12]})"


def _said(what: str, a: str, b: str) -> Value:
    return Value(what=what, a=a, b=b)


def _numbers(what: str, a: float | None, b: float | None) -> Value:
    difference = None if a is None or b is None else b - a
    return Value(what=what, a=a, b=b, difference=difference)


def _end(model: str) -> str:
    return PurePosixPath(model.rstrip("/")).name
