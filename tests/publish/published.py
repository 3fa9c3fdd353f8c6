"""What the tests of publishing push, and how they look at what came of it."""

from pathlib import Path

from huggingface_hub import snapshot_download
from loopback import Hub

CARD = "---\nlicense: apache-2.0\ntags: [merge]\n---\n# A merge\n"


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path there."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def arrived(hub: Hub, name: str, folder: Path, revision: str = "main") -> bool:
    """Whether the Hub has the bytes of a folder, and nothing else."""
    there = {**hub.repos[name].at(revision)}
    there.pop(".gitattributes")
    return there == files_of(folder)


def downloaded(name: str, revision: str = "main") -> dict[str, bytes]:
    """What huggingface_hub makes of a model on the Hub, but for what the Hub put there itself."""
    there = files_of(Path(snapshot_download(name, revision=revision)))
    there.pop(".gitattributes")
    return there
