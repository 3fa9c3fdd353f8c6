"""weightlens: see, strip and merge the overlap between fine-tuning deltas and base weights.

    import weightlens

    report = weightlens.measure_overlap("base", ["tuned", "adapter"])
    weightlens.run_merge(Path("recipe.yaml"), Path("out"))
    weightlens.evaluate_models(["base", "out"])
    weightlens.push("out", "me/merged")

Names are imported when they are first used, so that `import weightlens` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from weightlens.version import VERSION as __version__

if TYPE_CHECKING:
    from weightlens.checkpoint.selection import Selection
    from weightlens.errors import WeightlensError
    from weightlens.evaluate.asked_model import Settings
    from weightlens.evaluate.chat import Loading
    from weightlens.evaluate.chosen import Changes, Wanted
    from weightlens.evaluate.rescoring import rescore, score_answers
    from weightlens.evaluate.result import EvalReport
    from weightlens.evaluate.run import evaluate_models
    from weightlens.merge.engine import run_merge
    from weightlens.merge.extract import extract_adapter
    from weightlens.merge.extract_record import ExtractReport
    from weightlens.merge.foresight import plan_merge
    from weightlens.merge.rebuilding import rebuild_merge
    from weightlens.merge.record import MergeReport, PlanReport
    from weightlens.merge.resolution import parse_recipe, read_recipe
    from weightlens.merge.state_dicts import merge_state_dicts
    from weightlens.publish.pushing import plan_push, push
    from weightlens.publish.record import PushReport
    from weightlens.report.card import write_card
    from weightlens.spectral.lowrank import Truncation
    from weightlens.spectral.rank import SubspaceSize
    from weightlens.survey.callback import OverlapCallback
    from weightlens.survey.compare import compare_models
    from weightlens.survey.inspect import inspect_model
    from weightlens.survey.overlap import measure_overlap
    from weightlens.survey.result import OverlapReport

_HOMES = {
    "Changes": "weightlens.evaluate.chosen",
    "EvalReport": "weightlens.evaluate.result",
    "ExtractReport": "weightlens.merge.extract_record",
    "Loading": "weightlens.evaluate.chat",
    "MergeReport": "weightlens.merge.record",
    "OverlapCallback": "weightlens.survey.callback",
    "OverlapReport": "weightlens.survey.result",
    "PlanReport": "weightlens.merge.record",
    "PushReport": "weightlens.publish.record",
    "Selection": "weightlens.checkpoint.selection",
    "Settings": "weightlens.evaluate.asked_model",
    "SubspaceSize": "weightlens.spectral.rank",
    "Truncation": "weightlens.spectral.lowrank",
    "Wanted": "weightlens.evaluate.chosen",
    "WeightlensError": "weightlens.errors",
    "compare_models": "weightlens.survey.compare",
    "evaluate_models": "weightlens.evaluate.run",
    "extract_adapter": "weightlens.merge.extract",
    "inspect_model": "weightlens.survey.inspect",
    "measure_overlap": "weightlens.survey.overlap",
    "merge_state_dicts": "weightlens.merge.state_dicts",
    "parse_recipe": "weightlens.merge.resolution",
    "plan_merge": "weightlens.merge.foresight",
    "plan_push": "weightlens.publish.pushing",
    "push": "weightlens.publish.pushing",
    "read_recipe": "weightlens.merge.resolution",
    "rebuild_merge": "weightlens.merge.rebuilding",
    "rescore": "weightlens.evaluate.rescoring",
    "run_merge": "weightlens.merge.engine",
    "score_answers": "weightlens.evaluate.rescoring",
    "write_card": "weightlens.report.card",
}

__all__ = [
    "Changes",
    "EvalReport",
    "ExtractReport",
    "Loading",
    "MergeReport",
    "OverlapCallback",
    "OverlapReport",
    "PlanReport",
    "PushReport",
    "Selection",
    "Settings",
    "SubspaceSize",
    "Truncation",
    "Wanted",
    "WeightlensError",
    "__version__",
    "compare_models",
    "evaluate_models",
    "extract_adapter",
    "inspect_model",
    "measure_overlap",
    "merge_state_dicts",
    "parse_recipe",
    "plan_merge",
    "plan_push",
    "push",
    "read_recipe",
    "rebuild_merge",
    "rescore",
    "run_merge",
    "score_answers",
    "write_card",
]


def __getattr__(name: str) -> Any:
    """Imports a public name from where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module 'weightlens' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
