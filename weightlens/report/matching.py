"""Whether a model of some results is one that a record names: by its weights, or by its name."""

from pathlib import Path, PurePosixPath


def same_weights(asked: str, own: str, base: str | None) -> bool:
    """Whether the hash of a model that was asked is that of weights, or of them as an adapter on
    the base. own, base: hashes, that of a sum with all its terms; None where there is no base."""
    return asked == own or (base is not None and asked == f"{base}+{own}")


def same_place(a: str, b: str) -> bool:
    """Whether two references are equal, or one folder."""
    return a == b or (Path(a).exists() and Path(a).resolve() == Path(b).resolve())


def same_end(a: str, b: str) -> bool:
    """Whether two paths or Hub ids end alike; of a sum its last part counts."""
    return _end(a) == _end(b)


def _end(model: str) -> str:
    return PurePosixPath(model.rpartition("+")[2]).name.partition("@")[0]
