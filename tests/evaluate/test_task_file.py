"""Task files: what they say, and how they are told what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
from own_tasks import ROWS, SUMS, task_text, write_task

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources
from weightlens.evaluate.taskfile import parse

CHOICES: dict[str, Any] = {
    "scorer": "choice",
    "reference": None,
    "options": {"texts": "[sum, total]"},
}


def complaint(**changes: Any) -> str:
    """What is said of the task of sums with some fields changed."""
    with pytest.raises(EvaluationError) as raised:
        parse(task_text(**changes), "sums.yaml")
    return str(raised.value)


def line_of(text: str, start: str) -> int:
    """The number of the line that begins with something."""
    return next(i for i, line in enumerate(text.split("\n"), 1) if line.startswith(start))


def test_a_task_file_becomes_questions_with_what_its_templates_say(tmp_path: Path) -> None:
    path = write_task(tmp_path)
    loaded = catalogue.load(path, Sources(offline=True))
    first, *_ = loaded.task.questions("test", None)
    assert (first.id, first.prompt, first.reference) == ("sums/0", "What is 2 + 3?", "5")
    assert loaded.task.score(first, "The answer is 5.").value == 1
    assert loaded.task.score(first, "The answer is 6.").value == 0
    assert loaded.task.sampling.max_new_tokens == 20
    assert (loaded.count, loaded.licence, loaded.source) == (3, "CC0-1.0", "sums.jsonl")


def test_a_misspelt_key_is_answered_with_line_and_nearest_name() -> None:
    text = task_text() + "promt: hello\n"
    with pytest.raises(EvaluationError) as raised:
        parse(text, "mine.yaml")
    line = line_of(text, "promt")
    assert str(raised.value) == f"mine.yaml:{line}: promt: unknown key; did you mean 'prompt'?"


def test_a_misspelt_key_inside_a_part_is_answered_from_that_part() -> None:
    assert complaint(sampling={"max_new_token": 3}).endswith(
        "sampling.max_new_token: unknown key; did you mean 'max_new_tokens'?"
    )


def test_a_bad_pattern_is_an_error_with_its_line() -> None:
    text = task_text(extract=["boxed", {"pattern": "answer (is"}])
    with pytest.raises(EvaluationError) as raised:
        parse(text, "mine.yaml")
    line = line_of(text, "- pattern")
    assert str(raised.value).startswith(
        f"mine.yaml:{line}: extract.1.pattern: not a regular expression: "
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extract": [{"pattern": "answer is"}]}, "extract.0.pattern: a pattern needs a group"),
        ({"extract": ["boxes"]}, "extract.0.by: Input should be 'boxed'"),
        ({"extract": [{"by": "boxed", "pattern": "(x)"}]}, "extract.0: a try is a name"),
        ({"scorer": "numbre"}, "scorer: Input should be 'number'"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"version": "1"}, "version: Input should be a valid integer"),
        ({"name": "my task"}, "name: String should match pattern"),
        ({"licence": None}, "licence is missing"),
        ({"about": "two\nlines"}, "about: one line is wanted"),
        ({"data": []}, "data: List should have at least 1 item"),
        ({"data": [{}]}, "data.0: a source has either file, or repo"),
        ({"data": [{"file": "../x.jsonl"}]}, "data.0.file: a path inside the data folder"),
        ({"data": [{"file": "/etc/passwd"}]}, "data.0.file: a path inside the data folder"),
        ({"data": [{"file": "x.zip"}]}, "data.0: member says which file of a zip is meant"),
        ({"data": [{"repo": "a/b", "revision": "main", "files": ["x"]}]}, "data.0.revision: "),
        ({"data": [{"repo": "a/b"}]}, "data.0: a repo needs revision"),
        ({"data": [{"file": "x.jsonl", "gated": True}]}, "data.0: revision, files and gated"),
        ({"reference": None}, "the scorer number needs a reference"),
        ({"scorer": "choice"}, "options belong to the scorer choice, and it needs them"),
        ({"scorer": "refusal", "extract": ["boxed"]}, "the scorer refusal reads the whole"),
        ({"scorer": "mbpp", "fields": {"tests": "x"}}, "the scorer mbpp needs fields.setup"),
        ({"draws": 8}, "several draws at temperature 0 are one"),
        ({"sampling": {"max_new_tokens": 5, "top_p": 0.0}}, "sampling.top_p: "),
        ({"sampling": {"max_new_tokens": 5, "temperature": float("inf")}}, "sampling.temperature"),
    ],
)
def test_a_faulty_field_is_named_with_file_and_line(changes: dict[str, Any], said: str) -> None:
    message = complaint(**changes)
    assert message.startswith("sums.yaml:") and said in message
    assert message.split(":")[1].isdigit() and "\n" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a: b", "t.yaml:1: not valid YAML"),
        ("- 1", "t.yaml:1: a task file is a mapping"),
        ("", "t.yaml:1: a task file is a mapping"),
        ("name: a\nname: b", "t.yaml:2: name: given twice (first in line 1)"),
        ("a: &a [*a]", "t.yaml: "),
        ("a: &a [b]\n? [*a, *a]\n: 1", "t.yaml:2: a key is a word"),
        ("a: !!python/object/apply:os.system [ls]", "t.yaml:1: not valid YAML"),
        ("a: " + "[" * 50 + "]" * 50, "t.yaml: too large, or nested too deeply"),
        ("1: 2", "t.yaml:"),
    ],
)
def test_text_that_is_no_task_is_an_error_with_its_line(text: str, said: str) -> None:
    with pytest.raises(EvaluationError) as raised:
        parse(text, "t.yaml")
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "{{ summe }}"}, "prompt: row 0 of sums.jsonl: 'summe' is undefined"),
        ({"prompt": "{% if %}"}, "prompt: not a template: "),
        ({"prompt": "{{ sum / 2 }}"}, "prompt: row 0 of sums.jsonl: TypeError: "),
        ({"prompt": "{{ note }}"}, "prompt: row 1 of sums.jsonl: a value is null"),
        ({"prompt": "{{ ''.__class__.__mro__ }}"}, "prompt: row 0 of sums.jsonl: access to attr"),
        ({"prompt": "{{ row.clear() }}"}, "prompt: row 0 of sums.jsonl: "),
        ({"prompt": "  {# nothing #} "}, "prompt: row 0 of sums.jsonl: the prompt is empty"),
        ({"keep": "total >"}, "keep: not a template: "),
        ({"keep": "totl > 3"}, "keep: row 0 of sums.jsonl: 'totl' is undefined"),
        ({"keep": "totl"}, "keep: row 0 of sums.jsonl: 'totl' is undefined"),
        ({"keep": "row.totl"}, "keep: row 0 of sums.jsonl: "),
        ({"keep": "total > 100"}, "keep: no row of sums.jsonl is kept"),
        ({"id": "{{ kind }}"}, "id: row 1 of sums.jsonl: the id a is that of row 0, too"),
        ({"id": "{{ '' }}"}, "id: row 0 of sums.jsonl: the id is empty"),
        ({"reference": "{{ sum }}"}, "reference: sums/0: '2 + 3' is no number"),
        ({"fields": {"x": "note"}}, "fields.x: row 1 of sums.jsonl: a value is null"),
        ({"scorer": "exact", "reference": "{{ '' }}"}, "the reference is empty"),
        (CHOICES | {"options": {"texts": "sum"}}, "options.texts: row 0 of sums.jsonl: a list"),
        (
            CHOICES | {"options": {"texts": "[1, 2]", "labels": "['A']"}},
            "options: row 0 of sums.jsonl: 2 texts for the labels A",
        ),
        (
            CHOICES | {"options": {"texts": "[1, 2]", "answer": "C"}},
            "options.answer: row 0 of sums.jsonl: 'C' is none of the labels",
        ),
    ],
)
def test_a_template_that_does_not_go_with_a_row_names_field_and_row(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    rows = [
        row | {"kind": "a", "note": note} for row, note in zip(ROWS, ("x", None, "z"), strict=True)
    ]
    path = write_task(tmp_path, rows, **changes)
    with pytest.raises(EvaluationError) as raised:
        catalogue.load(path, Sources(offline=True))
    message = str(raised.value)
    assert message.startswith(f"{path}:") and said in message and "\n" not in message


def test_the_sandbox_lets_no_template_change_a_row_or_reach_python(tmp_path: Path) -> None:
    for prompt in ("{{ row.update({'sum': 1}) }}", "{{ sum.__class__ }}", "{{ self.__init__ }}"):
        path = write_task(tmp_path, prompt=prompt)
        with pytest.raises(EvaluationError):
            catalogue.load(path, Sources(offline=True))


def test_rows_are_kept_by_an_expression_and_numbered_among_those_kept(tmp_path: Path) -> None:
    path = write_task(tmp_path, keep="6 <= total <= 10")
    questions = catalogue.load(path, Sources(offline=True)).task.questions("test", None)
    assert [(q.id, q.reference) for q in questions] == [("sums/0", "8"), ("sums/1", "10")]


def test_fields_are_values_as_they_are_or_as_json(tmp_path: Path) -> None:
    path = write_task(tmp_path, fields={"text": "sum", "list": "[total, 'é\"']"})
    question = catalogue.load(path, Sources(offline=True)).task.questions("test", 1)[0]
    assert dict(question.fields) == {"text": "2 + 3", "list": '[5, "\\u00e9\\""]'}


def test_a_limited_run_takes_of_every_stratum_in_turn(tmp_path: Path) -> None:
    # strata by first letter: a a a b b c, so a b c a b a
    rows = [{"sum": s, "total": 1} for s in ("a1", "a2", "a3", "b1", "b2", "c1")]
    path = write_task(tmp_path, rows, spread="{{ sum[0] }}", group="{{ sum[0] }}")
    task = catalogue.load(path, Sources(offline=True)).task
    prompts = [q.prompt[8:10] for q in task.questions("test", None)]
    assert prompts == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [q.prompt[8:10] for q in task.questions("test", 4)] == prompts[:4]
    assert [q.id for q in task.questions("test", 2)] == ["sums/0", "sums/3"]
    assert [q.group for q in task.questions("test", 3)] == ["a", "b", "c"]


def test_a_task_of_data_has_test_questions_only(tmp_path: Path) -> None:
    task = catalogue.load(write_task(tmp_path), Sources(offline=True)).task
    with pytest.raises(EvaluationError, match="sums: has no train questions"):
        task.questions("train", None)


def test_the_hashes_change_with_the_data_and_with_the_file(tmp_path: Path) -> None:
    sources = Sources(offline=True)
    one = catalogue.load(write_task(tmp_path / "one"), sources)
    same = catalogue.load(write_task(tmp_path / "same"), sources)
    other_rows = catalogue.load(write_task(tmp_path / "rows", ROWS[:2]), sources)
    other_text = catalogue.load(write_task(tmp_path / "text", prompt="{{ sum }} = ?"), sources)
    assert (one.data_hash, one.file_hash) == (same.data_hash, same.file_hash)
    assert one.data_hash != other_rows.data_hash and one.file_hash == other_rows.file_hash
    assert one.data_hash == other_text.data_hash and one.file_hash != other_text.file_hash


def test_a_file_that_is_not_there_or_not_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"gone\.yaml: cannot be read \(No such file"):
        catalogue.load(tmp_path / "gone.yaml", Sources(offline=True))
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(EvaluationError, match=r"bad\.yaml: not text in UTF-8"):
        catalogue.load(tmp_path / "bad.yaml", Sources(offline=True))


def test_fewer_rows_than_the_file_promises_are_noted(tmp_path: Path) -> None:
    path = write_task(tmp_path, questions=4)
    notes = catalogue.load(path, Sources(offline=True)).notes
    assert notes == ("sums.jsonl holds 3 of 4 questions",)
    assert (
        "questions" not in SUMS
        and not catalogue.load(write_task(tmp_path), Sources(offline=True)).notes
    )


def test_options_keep_their_labels_and_shuffled_ones_their_question(tmp_path: Path) -> None:
    rows = [{"sum": f"s{i}", "total": i} for i in range(40)]
    options = {"texts": "['right', 'wrong 1', 'wrong 2', 'wrong 3']", "shuffle": True}
    prompt = "{{ sum }}{% for o in options %} {{ o.label }}={{ o.text }}{% endfor %}"
    changes: dict[str, Any] = CHOICES | {"options": options, "prompt": prompt}
    sources = Sources(offline=True)
    path = write_task(tmp_path, rows, **changes)
    questions = catalogue.load(path, sources).task.questions("test", None)
    assert questions == catalogue.load(path, sources).task.questions("test", None)
    for question in questions:
        assert f"{question.reference}=right" in question.prompt
    # 40 questions, 4 places: all on at most two places has a chance of 6 · 2⁻⁴⁰
    assert {q.reference for q in questions} == set("ABCD")
    # the order belongs to the question, not to its place in the file
    turned = write_task(tmp_path / "turned", rows[::-1], id="{{ sum }}", **changes)
    straight = write_task(tmp_path / "straight", rows, id="{{ sum }}", **changes)
    by_id = {q.id: q.prompt for q in catalogue.load(turned, sources).task.questions("test", None)}
    for question in catalogue.load(straight, sources).task.questions("test", None):
        assert by_id[question.id] == question.prompt


def test_a_pattern_takes_group_1_of_its_last_match(tmp_path: Path) -> None:
    path = write_task(tmp_path, extract=[{"pattern": r"<<(\d+)>>"}])
    task = catalogue.load(path, Sources(offline=True)).task
    question = task.questions("test", 1)[0]
    assert task.score(question, "<<4>> no, <<5>>, not 7").value == 1
    assert task.score(question, "5").outcome == "no answer"
