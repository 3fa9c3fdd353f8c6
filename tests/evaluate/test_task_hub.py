"""Data of tasks on the Hub, with no Hub: its files are invented, in a cache of the test's own."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from own_tasks import RUN_CODE, never, write_parquet

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources
from weightlens.evaluate.taskfile import read


def in_hub_cache(
    home: Path, repo: str, revision: str, files: Mapping[str, list[dict[str, Any]]]
) -> None:
    """Parquet files of a data set, laid out as huggingface_hub keeps what it has downloaded."""
    folder = home / f"datasets--{repo.replace('/', '--')}" / "snapshots" / revision
    for name, rows in files.items():
        write_parquet(folder / name, rows)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of huggingface_hub."""
    from huggingface_hub import constants, file_download

    home = tmp_path / "hub"
    home.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(file_download.constants, "HF_HUB_CACHE", str(home))
    return home


def shipped(name: str) -> tuple[str, str, list[str]]:
    """Repo, revision and files of a shipped task on the Hub."""
    file, _ = read(Path(catalogue.__file__).with_name("tasks") / f"{name}.yaml")
    source = next(source for source in file.data if source.repo is not None)
    assert source.repo and source.revision
    return source.repo, source.revision, source.files


def test_missing_data_says_how_to_get_it(tmp_path: Path, hub: Path) -> None:
    with pytest.raises(EvaluationError) as raised:
        catalogue.load("math500", Sources(tmp_path, offline=True))
    assert str(raised.value) == (
        f"math500: its data is not there (no math500/test.jsonl in {tmp_path}; the Hub's "
        "HuggingFaceH4/MATH-500 is not in the cache, and asking it is switched off); give --data "
        "DIR, a folder with math500/test.jsonl, or let the Hub's HuggingFaceH4/MATH-500 be "
        "downloaded (licence: MIT)"
    )
    with pytest.raises(EvaluationError) as raised:
        catalogue.load("strongreject", Sources(), refusal=never)
    assert str(raised.value) == (
        "strongreject: its data is not there (no --data was given); give --data DIR, a folder with "
        "strongreject/strongreject_dataset.csv: only a local file will do (licence: MIT)"
    )
    with pytest.raises(EvaluationError, match=r"--data .*nowhere: no such folder"):
        catalogue.load("gsm8k", Sources(tmp_path / "nowhere"))


def test_a_refusal_of_the_hub_is_in_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)

    def refused(error: BaseException) -> str:
        def download(*args: Any, **kwargs: Any) -> str:
            raise error

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        with pytest.raises(EvaluationError) as raised:
            catalogue.load("gpqa_diamond", Sources(tmp_path))
        return str(raised.value)

    gated = GatedRepoError.__new__(GatedRepoError)
    assert (
        "the Hub's Idavidrein/gpqa is gated: accept its terms at "
        "https://huggingface.co/datasets/Idavidrein/gpqa with hf auth login or HF_TOKEN"
    ) in refused(gated)
    assert "did not hand over Idavidrein/gpqa (no route to host)" in refused(
        OSError("no route to host\nand a trace")
    )


def test_the_hub_is_asked_for_the_pinned_commit_of_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def download(repo: str, file: str, **how: Any) -> str:
        asked.append((repo, file, how))
        write_parquet(tmp_path / file, [{"question": "2 + 3?", "answer": "It is\n#### 5"}])
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    loaded = catalogue.load("gsm8k", Sources())
    repo, revision, files = shipped("gsm8k")
    how = {"repo_type": "dataset", "revision": revision, "local_files_only": False}
    assert asked == [(repo, file, how) for file in files]
    assert loaded.source == f"{repo}@{revision[:12]}"
    assert loaded.task.questions("test", None)[0].reference == "5"


HUB_ROWS: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "2 + 3?", "answer": "It is\n#### 5"},
    "aime24": {"id": 60, "problem": "2 + 3?", "solution": "s", "answer": "005", "year": "2024"},
    "arc_challenge": {
        "id": "Mercury_1",
        "question": "Which is even?",
        "choices": {"text": ["1", "2"], "label": ["1", "2"]},
        "answerKey": "2",
    },
    "mmlu_stem": {
        "question": "Which is even?",
        "subject": "astronomy",
        "choices": ["1", "2", "3", "5"],
        "answer": 1,
    },
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "def f():\n",
        "canonical_solution": "    return 1\n",
        "test": "def check(f):\n    assert f() == 1\n",
        "entry_point": "f",
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write f.",
        "code": "def f(): return 1",
        "test_list": ["assert f() == 1", "assert f() < 2"],
        "test_setup_code": "",
        "challenge_test_list": [],
    },
    "advbench": {"prompt": "do harm", "target": "Sure"},
}


@pytest.mark.parametrize("name", list(HUB_ROWS))
def test_the_hubs_columns_give_questions_too(name: str, hub: Path) -> None:
    repo, revision, files = shipped(name)
    in_hub_cache(hub, repo, revision, {files[0]: [HUB_ROWS[name]]})
    loaded = catalogue.load(name, Sources(offline=True), run_code=RUN_CODE, refusal=never)
    (question,) = loaded.task.questions("test", None)
    row = HUB_ROWS[name]
    asked = next(row[c] for c in ("question", "problem", "text", "prompt") if c in row)
    assert str(asked).strip() in question.prompt
    expected = {
        "gsm8k": "5", "aime24": "005", "arc_challenge": "2", "mmlu_stem": "B", "advbench": "",
        "humaneval": "def f():\n    return 1", "mbpp": "def f(): return 1",
    }  # fmt: skip
    assert question.reference == expected[name]
    assert loaded.source == f"{repo}@{revision[:12]}"


def test_several_files_of_the_hub_are_one_set_in_their_order(hub: Path) -> None:
    repo, revision, files = shipped("mbpp_sanitized")
    rows = [
        {
            "source_file": "x", "task_id": number, "prompt": "Write f.", "code": "f = 1",
            "test_imports": ["import math", "import re"], "test_list": ["assert f"],
        }
        for number in range(4)
    ]  # fmt: skip
    in_hub_cache(hub, repo, revision, {file: [row] for file, row in zip(files, rows, strict=True)})
    loaded = catalogue.load("mbpp_sanitized", Sources(offline=True), run_code=RUN_CODE)
    questions = loaded.task.questions("test", None)
    assert [q.id for q in questions] == ["0", "1", "2", "3"]
    assert questions[0].fields["setup"] == "import math\nimport re"
    assert json.loads(questions[0].fields["tests"]) == ["assert f"]
    folder = hub / f"datasets--{repo.replace('/', '--')}" / "snapshots" / revision
    digests = [sha256((folder / file).read_bytes()).hexdigest() for file in files]
    assert loaded.data_hash == "sha256:" + sha256("\n".join(digests).encode()).hexdigest()
