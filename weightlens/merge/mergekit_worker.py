"""The process that mergekit's engine runs in: a job as JSON comes in, and JSON tells what happens.

mergekit keeps its loaders in a global cache and takes seconds and 400 MB to import, so it gets a
process of its own. There two habits of it are mended that would make the same recipe give different
bytes: the order of models follows the recipe and not a set, and that of tokens their numbers and
not a hash map. Its own progress bar stays silent; a line is told for each tensor instead.
"""

import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from weightlens.errors import (
    CheckpointError,
    InputError,
    OutputError,
    RecipeError,
    WeightlensError,
)

Tell = Callable[..., None]
"""Takes one fact, as keywords, for the process that started this one."""


def main() -> None:
    """Reads a job from standard input and carries it out; ends with 1 where that fails.

    What anything else prints goes to standard error, whose reader shows it only where this process
    ends without having told why.
    """
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(**fact: Any) -> None:
        print(json.dumps(fact), file=told, flush=True)

    try:
        carry_out(json.load(sys.stdin), tell)
    except Exception as error:
        found = as_ours(error)
        tell(error=type(found).__name__, message=str(found))
        raise SystemExit(1) from error


def carry_out(job: Mapping[str, Any], tell: Tell) -> None:
    """Runs one merge.

    job: the recipe with references as mappings of folders (`recipe`), its text as written (`text`),
    the folder that it goes into (`out`), fields of mergekit's MergeOptions (`options`), and modules
    to import before for the methods that they register (`plugins`). Raises what mergekit raises.
    """
    logging.getLogger().addHandler(_Warnings(tell))
    for name in job["plugins"]:
        import_module(name)
    from mergekit import merge
    from mergekit.config import MergeConfiguration
    from mergekit.options import MergeOptions

    from weightlens.merge.mergekit_methods import register_methods

    register_methods()
    _keep_order(MergeConfiguration)
    executor = merge.Executor
    merge.Executor = lambda *args, **kwargs: _Executing(executor(*args, **kwargs), tell)
    config = MergeConfiguration.model_validate(job["recipe"])
    options = MergeOptions(quiet=True, write_model_card=False, **job["options"])
    merge.run_merge(config, job["out"], options, config_source=job["text"])


def _keep_order(configuration: Any) -> None:
    """Models in the order of the recipe, the base first; tokens in the order of their numbers."""
    from transformers import PreTrainedTokenizerFast

    def referenced_models(self: Any) -> list[Any]:
        lists = [self.models or [], *((m.models or []) for m in (self.modules or {}).values())]
        slices = [*(self.slices or [])]
        for module in (self.modules or {}).values():
            slices += module.slices or []
        named = [
            *([self.base_model] if self.base_model else []),
            *(source.model for sources in lists for source in sources),
            *(source.model for s in slices for source in s.sources),
        ]
        return list(dict.fromkeys(named))

    vocabulary = PreTrainedTokenizerFast.get_vocab

    def get_vocab(self: Any) -> dict[str, int]:
        return dict(sorted(vocabulary(self).items(), key=lambda entry: entry[1]))

    configuration.referenced_models = referenced_models
    PreTrainedTokenizerFast.get_vocab = get_vocab  # type: ignore[method-assign]


class _Executing:
    """mergekit's executor, which tells of every tensor that is written."""

    def __init__(self, executor: Any, tell: Tell) -> None:
        self._executor, self._tell = executor, tell

    def run(self, quiet: bool = False) -> Iterator[tuple[Any, Any]]:
        """As mergekit's."""
        from mergekit.io.tasks import SaveTensor

        done, total = 0, sum(isinstance(t.task(), SaveTensor) for t in self._executor.targets)
        self._tell(done=0, total=total, tensor="")
        for task, value in self._executor.run(quiet=True):
            if isinstance(task, SaveTensor):
                done += 1
                self._tell(done=done, total=total, tensor=task.tensor_name)
            yield task, value


class _Warnings(logging.Handler):
    """Tells of what is logged as a warning or an error, and by which package."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the exception's own text."""
        cause = record.exc_info[1] if record.exc_info else None
        text = record.getMessage() + (f" ({cause})" if cause else "")
        package = record.name.partition(".")[0]
        by = "mergekit" if package == "root" else package  # mergekit logs some to the root
        self._tell(warning=" ".join(text.split()), by=by)


def as_ours(error: Exception) -> WeightlensError:
    """The error of ours that an exception out of mergekit comes to, its message on one line."""
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    if isinstance(error, WeightlensError):
        return error
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        message = str(found["msg"]).removeprefix("Value error, ")
        return RecipeError(f"mergekit: {place}: {message}" if place else f"mergekit: {message}")
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError | OutOfMemoryError):
        return InputError(f"mergekit: out of memory: {message}")
    if isinstance(error, ImportError):
        return InputError(f"mergekit: a module is missing or broken: {message}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"mergekit: {message}")
    if isinstance(error, OSError | SafetensorError):
        return CheckpointError(f"mergekit: {message}")
    if type(error) in (RuntimeError, ValueError):
        return RecipeError(f"mergekit: {message}")
    return InputError(f"mergekit: {type(error).__name__}: {message}")


if __name__ == "__main__":
    main()
