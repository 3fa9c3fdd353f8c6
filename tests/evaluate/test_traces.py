"""Traces from a file: read, and refused with file and line."""

import json
from pathlib import Path

import pytest

from weightlens.errors import EvaluationError
from weightlens.evaluate.drift import read_traces


def test_traces_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    lines = [
        {"prompt": "2+2", "answer": "4"},
        {"prompt": "bomb", "answer": "no", "kind": "refusal", "id": "r1"},
    ]
    file.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    one, two = read_traces(file)
    assert (one.id, one.kind, one.answer) == ("1", "reasoning", "4")
    assert (two.id, two.kind) == ("r1", "refusal")


def test_what_ends_lines_elsewhere_ends_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    said = "one\u2028two\u0085three\u2029"
    line = json.dumps({"prompt": said, "answer": said}, ensure_ascii=False)
    file.write_text(f"\ufeff{line}\r\n\n{line}\n", encoding="utf-8")
    one, two = read_traces(file)
    assert (one.prompt, two.answer, two.id) == (said, said, "3")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"', r"traces.jsonl:2: Invalid JSON"),
        ('["a", "b"]', r"traces.jsonl:2: .*object"),
        ('{"prompt": "a"}', r"traces.jsonl:2: answer: Field required"),
        ('{"prompt": "a", "answer": " "}', r"traces.jsonl:2: answer: is empty"),
        ('{"prompt": "a", "answer": 5}', r"traces.jsonl:2: answer: .*string"),
        ('{"prompt": "a", "answer": "b", "kind": "poem"}', r"traces.jsonl:2: kind: .*'refusal'"),
        ('{"prompt": "a", "answer": "b", "Kind": "x"}', r"traces.jsonl:2: Kind: Extra inputs"),
        ('{"prompt": "a", "answer": "b", "id": "1"}', r"traces.jsonl:2: the id '1' is given twice"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n' + line + "\n")
    with pytest.raises(EvaluationError, match=message):
        read_traces(file)


def test_files_that_hold_no_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"absent.jsonl: traces cannot be read \(No such"):
        read_traces(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(EvaluationError, match=r"empty.jsonl: holds no traces"):
        read_traces(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="it is not UTF-8"):
        read_traces(tmp_path / "binary.jsonl")
