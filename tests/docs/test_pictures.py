"""The pictures of docs/metrics.md: each is shown, and each is what docs/pictures draws."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "images" / "metrics"
DECIMAL = re.compile(r"-?\d+\.\d+")
SHOWN = re.compile(
    r"^!\[(?P<alt>.*)\]\(images/metrics/(?P<file>[^)]+)\)\n\n\*(?P<caption>.*)", re.M
)


def test_every_picture_exists_and_is_shown_once():
    shown = re.findall(r"images/metrics/([\w.-]+)", (DOCS / "metrics.md").read_text("utf-8"))
    assert sorted(shown) == sorted(file.name for file in FOLDER.iterdir())


def test_every_picture_has_words_beside_it():
    text = (DOCS / "metrics.md").read_text("utf-8")
    found = {match["file"]: match for match in SHOWN.finditer(text)}
    assert found.keys() == {file.name for file in FOLDER.iterdir()}
    assert all(len(match["alt"].split()) > 5 for match in found.values())


def test_every_metric_has_a_source_and_a_picture():
    sections = re.split(r"^##? ", (DOCS / "metrics.md").read_text("utf-8"), flags=re.M)
    explained = [s for s in sections if "images/metrics/" in s]
    assert len(explained) == len(list(FOLDER.iterdir()))
    for section in explained:
        name = section.partition("\n")[0]
        assert re.search(r"^Sources?: ", section, re.M), f"{name}: no source"
        assert re.search(r"^    \S", section, re.M), f"{name}: no formula"
        assert "say**" in section or "does not" in section, f"{name}: what does it not say?"


def test_pictures_are_light():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 600_000


def test_pictures_are_what_the_script_draws(tmp_path: Path):
    by = f"Matplotlib v{version('matplotlib')}"
    if any(by not in file.read_text("utf-8") for file in FOLDER.iterdir()):
        pytest.skip("drawn by another matplotlib")
    subprocess.run([sys.executable, DOCS / "pictures", tmp_path], check=True, timeout=120)
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in FOLDER.iterdir()}
    for drawn in tmp_path.iterdir():
        here, there = drawn.read_text("utf-8"), (FOLDER / drawn.name).read_text("utf-8")
        again = f"{drawn.name}: run `python docs/pictures`"
        assert DECIMAL.sub("#", here) == DECIMAL.sub("#", there), again
        if drawn.name != "certificate.svg":  # it shows rounding errors, each processor its own
            # the same bytes on one machine; on another the last digits may differ
            assert numbers(here) == pytest.approx(numbers(there), abs=0.02), again


def numbers(text: str) -> list[float]:
    """The decimal numbers of a picture, in points."""
    return [float(found) for found in DECIMAL.findall(text)]
