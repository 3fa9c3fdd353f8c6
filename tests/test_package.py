"""What is installed, and what it exports."""

import importlib
import subprocess
import sys
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

import weightlens

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_two_packages_and_the_models() -> None:
    files = {f.distribution_path for f in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f.split("/")[0] for f in files} == {"weightlens", "weightlens_cli"}
    assert "weightlens/experiment/tiny/models/base/model.safetensors" in files
    assert "weightlens/py.typed" in files


def test_every_public_name_is_there_and_in_all() -> None:
    assert sorted(weightlens._HOMES) == sorted(set(weightlens.__all__) - {"__version__"})
    for name, home in weightlens._HOMES.items():
        assert getattr(weightlens, name) is getattr(importlib.import_module(home), name)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, weightlens; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_embedded_models_are_small() -> None:
    folder = ROOT / "weightlens" / "experiment" / "tiny" / "models"
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 12e6
    from weightlens.checkpoint.read import FolderWeights

    infos = FolderWeights(folder / "base").infos.values()
    assert sum(info.entries for info in infos) <= 2_000_000
