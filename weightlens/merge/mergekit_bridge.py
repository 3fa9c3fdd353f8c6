"""mergekit's engine for the recipes that only it can run, and its command line with our methods.

It runs in a process of its own (weightlens.merge.mergekit_worker) that sees local folders alone and
does not ask the Hub. mergekit writes no model card there: its card holds the paths of the models,
and for a relative path that exists it asks the Hub whether that is a model.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

import yaml

from weightlens import errors
from weightlens.checkpoint.layout import scan_folder
from weightlens.errors import CheckpointError, InputError, RecipeError

Progress = Callable[[int, int, str], None]
"""Told the tensors written, their total, and the name of the one that was finished last."""

_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",  # what mergekit keeps in sets has the same order each time
}
_HINT = "`weightlens mergekit-yaml RECIPE OUT -v` runs it with mergekit's own log"


def run_mergekit(
    recipe_text: str,
    folder: Path,
    *,
    models: Mapping[str, str],
    seed: int = 0,
    device: str = "cpu",
    plugins: Sequence[str] = (),
    progress: Progress = lambda done, total, tensor: None,
) -> tuple[str, ...]:
    """Runs a recipe with mergekit's engine into a folder that exists; returns what it warned of,
    and what the packages below it did, each after its name.

    models: where each model that the recipe names lies, FOLDER or FOLDER+ADAPTER, by the name as
    written. plugins: modules whose import registers methods with mergekit. The folder gets weights
    as safetensors (with an index where there are several files), config and tokenizer, and no card.
    The methods of weightlens are known there too, as weightlens_NAME.

    Raises RecipeError for a recipe that mergekit cannot carry out, CheckpointError for a model that
    it cannot read, InputError where it fails otherwise or is killed. Files may be left in `folder`
    then; a temporary folder for merged adapters, in it, is removed unless this process is killed.
    """
    located = {name: _located(name, folders) for name, folders in models.items()}
    recipe = _relocated(_mapping(recipe_text), located)
    with ExitStack() as until_done:
        adapters = None
        if any(len(folders) > 1 for folders in located.values()):
            within = TemporaryDirectory(prefix=".adapters-", dir=folder)
            adapters = until_done.enter_context(within)
        job = {
            "recipe": recipe,
            "text": recipe_text,
            "out": str(folder),
            "plugins": list(plugins),
            "options": {
                "random_seed": seed,
                "device": device,
                "lora_merge_cache": adapters,
            },
        }
        warnings = _run(job, models, progress)
    _check(folder)
    return warnings


def chat_template_names() -> tuple[str, ...]:
    """The chat templates that mergekit has names for, in alphabetical order."""
    folder = _templates()
    return tuple(sorted(f.stem for f in folder.glob("*.jinja"))) if folder else ()


def chat_template(name: str) -> str | None:
    """The text of one of mergekit's chat templates; None where it has none of that name."""
    folder = _templates()
    if folder is None or name not in chat_template_names():
        return None
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


def run_command_line(arguments: Sequence[str]) -> None:
    """mergekit's own command, mergekit-yaml, with the methods of weightlens registered.

    Ends with SystemExit, as that does. Raises RecipeError, CheckpointError or InputError for what
    it would answer with a traceback.
    """
    from weightlens.merge.mergekit_methods import register_methods
    from weightlens.merge.mergekit_worker import as_ours

    try:
        register_methods()
        import click
        from mergekit.scripts.run_yaml import main
    except ImportError as error:
        raise as_ours(error) from error
    try:
        code = main.main(list(arguments), "weightlens mergekit-yaml", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        raise as_ours(error) from error
    raise SystemExit(code or 0)


def _templates() -> Path | None:
    """Where mergekit keeps its chat templates, found without importing it."""
    found = find_spec("mergekit")
    places = (found.submodule_search_locations if found else None) or []
    folders = (Path(place) / "_data" / "chat_templates" for place in places)
    return next((folder for folder in folders if folder.is_dir()), None)


def _mapping(text: str) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise RecipeError("a recipe is a mapping with merge_method and models")
    return recipe


def _located(name: str, folders: str) -> tuple[str, ...]:
    """The folder of a model, and of its adapter. A path may have a + in its name."""
    pieces = folders.split("+")
    for count in range(len(pieces), 0, -1):
        found = ["+".join(pieces[:count]), *(["+".join(pieces[count:])] if pieces[count:] else [])]
        if all(Path(part).is_dir() for part in found):
            return tuple(os.path.abspath(part) for part in found)
    raise InputError(f"{name}: {folders} is no folder, and no FOLDER+ADAPTER; mergekit's engine "
                     "takes one adapter a model")  # fmt: skip


def _relocated(node: Any, located: Mapping[str, Sequence[str]]) -> Any:
    """The recipe with folders for models: as mappings, since mergekit reads + and @ in a path."""
    if isinstance(node, list):
        return [_relocated(entry, located) for entry in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if value is None or key == "parameters":
            found[key] = value
        elif key in ("tokens", "modules") and isinstance(value, dict):  # the keys are names
            found[key] = {name: _relocated(inner, located) for name, inner in value.items()}
        elif key in ("model", "base_model") or (
            key in ("source", "tokenizer_source")
            and value not in ("union", "base")
            and not (isinstance(value, dict) and "kind" in value)
        ):
            found[key] = _reference(value, located)
        else:
            found[key] = _relocated(value, located)
    return found


def _reference(value: Any, located: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A reference in mergekit's long form, from either of its forms."""
    form = value if isinstance(value, dict) else {}
    name = "+".join(_term(form[k]) for k in ("model", "lora") if form.get(k)) or str(value)
    if name not in located:
        raise RecipeError(f"{name}: named in the recipe, but not among the models given")
    model, *adapter = located[name]
    found: dict[str, Any] = {"model": {"path": model}}
    if adapter:
        found["lora"] = {"path": adapter[0]}
    if form.get("override_architecture"):
        found["override_architecture"] = form["override_architecture"]
    return found


def _term(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    revision = value.get("revision")
    return f"{value.get('path')}@{revision}" if revision else str(value.get("path"))


def _run(job: Mapping[str, Any], models: Mapping[str, str], progress: Progress) -> tuple[str, ...]:
    """Starts the process, gives it the job, and passes on what it tells."""
    command = [sys.executable, "-P", "-m", "weightlens.merge.mergekit_worker"]
    warnings: dict[str, None] = {}
    failure: InputError | None = None
    with (
        TemporaryFile() as printed,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed,
            text=True, encoding="utf-8", env=os.environ | _OFFLINE,
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None
            with suppress(BrokenPipeError), process.stdin as given:
                json.dump(job, given, default=str)
            for line in process.stdout:
                fact = json.loads(line)
                if "warning" in fact:
                    warnings[f"{fact['by']}: {_as_written(fact['warning'], models)}"] = None
                elif "error" in fact:
                    message = f"{_as_written(fact['message'], models)} ({_HINT})"
                    failure = getattr(errors, fact["error"])(message)
                else:
                    progress(fact["done"], fact["total"], fact["tensor"])
            code = process.wait()
        except BaseException:
            process.kill()
            raise
        if failure is not None:
            raise failure
        if code:
            raise InputError(_ended(code, printed))
    return tuple(warnings)


def _as_written(text: str, models: Mapping[str, str]) -> str:
    """A message with the recipe's names in the place of folders, the longest first."""
    for name, folders in sorted(models.items(), key=lambda entry: -len(entry[1])):
        text = name.join(re.split(re.escape(folders) + r"(?![\w-])", text))
    return text


def _ended(code: int, printed: IO[bytes]) -> str:
    """What is said of a process that ended without a word of its own."""
    if code == -9:
        return ("mergekit was killed (signal 9), most often for want of memory: it holds a "
                "tensor of every model and up to 5 GB of output; close other programs")  # fmt: skip
    if code < 0:
        return f"mergekit was ended by signal {-code}"
    printed.seek(0)
    lines = printed.read().decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"mergekit ended with code {code}: {last} ({_HINT})"


def _check(folder: Path) -> None:
    """Raises CheckpointError unless the folder holds whole weights and a config, and gives the
    weights the permissions that other new files have: they come readable for their owner alone."""
    config = folder / "config.json"
    if not config.is_file() or not scan_folder(folder):
        raise CheckpointError(f"{folder}: mergekit left no whole model there ({_HINT})")
    allowed = config.stat().st_mode  # less what the user's umask takes away
    for file in folder.glob("*.safetensors"):
        file.chmod(allowed)
