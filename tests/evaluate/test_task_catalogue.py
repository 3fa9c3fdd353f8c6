"""The tasks and suites that weightlens comes with."""

import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from own_tasks import RUN_CODE, never, public_data, write_task

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.builtin import SUITE
from weightlens.evaluate.data import Sources
from weightlens.evaluate.suites import SuiteEntry, parse_suites
from weightlens.evaluate.task import Sampling
from weightlens.evaluate.taskfile import read

FOLDER = Path(catalogue.__file__).with_name("tasks")
COUNTS = {
    "advbench": 520, "aime24": 30, "arc_challenge": 1150, "gsm8k": 1319, "humaneval": 164,
    "jailbreakbench": 100, "math500": 500, "mbpp": 500, "mbpp_sanitized": 427, "mmlu_stem": 3153,
    "strongreject": 313, "xstest": 450,
}  # fmt: skip


@cache
def loaded(name: str) -> catalogue.Loaded:
    """A task on the public data of this machine."""
    sources = Sources(public_data(), offline=True)
    return catalogue.load(name, sources, run_code=RUN_CODE, refusal=never)


def test_every_task_file_is_named_as_its_task() -> None:
    files = [path for path in FOLDER.glob("*.yaml") if path.name != "suites.yaml"]
    assert {path.stem for path in files} == {*COUNTS, "gpqa_diamond"}
    for path in files:
        assert read(path)[0].name == path.stem


def test_the_listing_has_every_task_and_needs_no_data() -> None:
    listed = {line.name: line for line in catalogue.describe()}
    assert tuple(listed) == catalogue.names()
    assert listed["gsm8k"].questions == 1319 and listed["gsm8k"].licence == "MIT"
    assert listed["mbpp"].needs == ("--run-code",)
    assert listed["strongreject"].needs == ("--data DIR",)
    assert "openai/gsm8k on the Hub" in listed["gsm8k"].data
    for task in SUITE:
        assert listed[task.name].metric == task.metric
    assert all(line.about and line.metric and line.licence for line in listed.values())


def test_the_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys; from weightlens.evaluate import catalogue; catalogue.describe(); "
        "catalogue.suites(); heavy = {'torch', 'transformers', 'pyarrow', 'math_verify', 'sympy', "
        "'jinja2', 'huggingface_hub', 'requests'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", list(COUNTS))
def test_a_shipped_task_has_its_questions_and_stable_ids(name: str) -> None:
    found = loaded(name)
    questions = found.task.questions("test", None)
    assert found.count == len(questions) == COUNTS[name]
    assert len({q.id for q in questions}) == len(questions)
    assert found.task.questions("test", 7) == questions[:7]
    assert found.data_hash is not None and len(found.data_hash) == 71
    stated = read(FOLDER / f"{name}.yaml")[0].questions
    assert bool(found.notes) == (stated != COUNTS[name]) == (name == "arc_challenge")


def test_ids_are_the_data_sets_own_where_it_has_them() -> None:
    first = {name: loaded(name).task.questions("test", 1)[0].id for name in COUNTS}
    assert first["humaneval"] == "HumanEval/0"
    assert first["mbpp"] == "11" and first["mbpp_sanitized"] == "2"
    assert first["gsm8k"] == "gsm8k/0" and first["strongreject"] == "strongreject/0"
    assert first["xstest"] == "1" and first["aime24"] == "60"


def test_mbpp_is_its_test_split() -> None:
    questions = loaded("mbpp").task.questions("test", None)
    assert [int(q.id) for q in questions] == list(range(11, 511))


def test_xstest_reports_its_halves_apart_and_a_limit_takes_of_every_type() -> None:
    found = loaded("xstest")
    questions = found.task.questions("test", None)
    assert Counter(q.group for q in questions) == {"safe": 250, "unsafe": 200}
    assert found.lower_is_better == {"safe"}
    # ten types are safe and eight unsafe, 25 of each
    assert Counter(q.group for q in questions[:36]) == {"safe": 20, "unsafe": 16}


def test_mmlu_reports_its_subjects_apart_and_a_limit_takes_of_every_one() -> None:
    questions = loaded("mmlu_stem").task.questions("test", 38)
    assert set(Counter(q.group for q in questions).values()) == {2}


def test_a_task_that_runs_programs_needs_to_be_allowed() -> None:
    sources = Sources(public_data(), offline=True)
    with pytest.raises(EvaluationError) as raised:
        catalogue.load("humaneval", sources)
    assert str(raised.value) == (
        "humaneval: runs programs that the model wrote; allow it with --run-code"
    )
    assert catalogue.load("humaneval", sources, run_code=RUN_CODE).task.score is never


def test_programs_are_asked_for_whole_and_with_no_beginning_of_an_answer() -> None:
    for name in ("humaneval", "mbpp", "mbpp_sanitized"):
        prompt = loaded(name).task.questions("test", 1)[0].prompt
        assert "whole program" in prompt and "code block" in prompt and prompt.endswith("```")


def test_refusals_are_judged_by_the_detector_that_the_metric_names() -> None:
    refusal = pytest.importorskip("weightlens.evaluate.safety.refusal")
    task = catalogue.load("advbench", Sources(public_data(), offline=True)).task
    assert task.score is refusal.refusal_scorer
    assert task.metric == f"refusal_rate ({refusal.DETECTOR})"


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(EvaluationError) as raised:
        catalogue.load("gms8k", Sources(offline=True))
    assert str(raised.value).startswith("no task 'gms8k'; did you mean 'gsm8k'?; there is ")
    with pytest.raises(EvaluationError, match="no suite 'quik'; did you mean 'quick'"):
        catalogue.suite("quik")


def test_weightlens_own_tasks_come_out_of_the_catalogue() -> None:
    for task in SUITE:
        found = catalogue.load(task.name, Sources(offline=True))
        assert found.task is task and found.data_hash is None
    assert [entry.task for entry in catalogue.suite("builtin")] == [task.name for task in SUITE]


def test_the_paper_suite_is_the_protocol() -> None:
    entries = {entry.task: entry for entry in catalogue.suite("paper")}
    assert list(entries) == ["aime24", "gpqa_diamond", "humaneval", "mbpp", "strongreject"]
    for name in ("aime24", "humaneval", "mbpp"):
        task = entries[name].applied_to(loaded(name).task)
        assert task.sampling == Sampling(32768, temperature=0.6, top_p=0.95) and task.draws == 8
        assert entries[name].limit is None
    strongreject = entries["strongreject"].applied_to(loaded("strongreject").task)
    assert strongreject.sampling.temperature == 1.0 and strongreject.draws == 1


def test_the_quick_suite_asks_little_and_runs_no_programs() -> None:
    entries = catalogue.suite("quick")
    tokens = 0
    for entry in entries:
        found = catalogue.load(entry.task, Sources(public_data(), offline=True), refusal=never)
        task = entry.applied_to(found.task)
        assert entry.limit is not None
        tokens += entry.limit * task.sampling.max_new_tokens * task.draws
    assert tokens < 40_000


def test_an_entry_changes_what_it_says_and_leaves_the_rest(tmp_path: Path) -> None:
    task = catalogue.load(write_task(tmp_path), Sources(offline=True)).task
    assert SuiteEntry(task="sums").applied_to(task) == task
    entry = SuiteEntry.model_validate({"task": "sums", "sampling": {"temperature": 0.5}})
    assert entry.applied_to(task).sampling == Sampling(20, temperature=0.5)
    with pytest.raises(EvaluationError, match="sums: 2 draws at temperature 0 are one"):
        SuiteEntry(task="sums", draws=2).applied_to(task)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n  - task: gms8k", "s.yaml:2: a.0.task: no task 'gms8k'; did you mean 'gsm8k'?"),
        ("a:\n  - task: gsm8k\n  - task: gsm8k", "s.yaml:3: a.1.task: gsm8k is named twice"),
        ("a:\n  - {task: gsm8k, limt: 3}", "s.yaml:2: a.0.limt: unknown key; did you mean"),
        ("a: []", "s.yaml:1: a: List should have at least 1 item"),
        ("a:\n  - {task: gsm8k, limit: 0}", "s.yaml:2: a.0.limit: Input should be greater"),
    ],
)
def test_a_faulty_suite_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(EvaluationError) as raised:
        parse_suites(tmp_path / "s.yaml", ["gsm8k"])
    assert str(raised.value).startswith(f"{tmp_path}/{said}")
