"""Short names of models, for legends and axes, and of the files of results, for titles."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def short_models(models: Sequence[str]) -> list[str]:
    """The end of each model's path, as many folders of it as tell the models apart.

    Models of one and the same path are numbered.
    """
    names = [_end(model, 1) for model in models]
    for length in range(2, 1 + max((len(_parts(model)) for model in models), default=0)):
        names = [
            _end(model, length) if names.count(name) > 1 else name
            for model, name in zip(models, names, strict=True)
        ]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def short_files(files: Sequence[Path]) -> list[str]:
    """Folder and stem of each file, those of one and the same name numbered."""
    names = [f"{file.parent.name}/{file.stem}".removeprefix("/") for file in files]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _end(model: str, length: int) -> str:
    return "/".join(_parts(model)[-length:]) or model


def _parts(model: str) -> list[str]:
    return [part for part in PurePosixPath(model).parts if part != "/"]
