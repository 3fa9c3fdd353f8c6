"""Data of tasks in files: formats, folders, zips, and what is said of damaged ones."""

import gzip
import json
import zipfile
from pathlib import Path

import pytest
from own_tasks import ROWS, write_parquet, write_task

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources
from weightlens.evaluate.data.formats import read_rows

AES_ZIP = bytes.fromhex(
    # one stored file a.csv, flag bit 0 and method 99, as WinZip marks AES
    "504b0304330001006300000000000000000004000000040000000500000061"
    "2e637376deadbeef"
    "504b01023300330001006300000000000000000004000000040000000500000000000000000000000000000000"
    "00612e637376"
    "504b0506000000000100010033000000270000000000"
)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "csv.gz"])
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    rows = [{"a": "1", "b": "zwei, drei"}, {"a": 'q"', "b": "line\u2028one\nline two"}]
    if ending.startswith("jsonl"):
        content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    elif ending == "json":
        content = json.dumps(rows).encode()
    elif ending == "parquet":
        write_parquet(tmp_path / "x.parquet", rows)
        content = (tmp_path / "x.parquet").read_bytes()
    else:
        content = 'a,b\n1,"zwei, drei"\n"q""","line\u2028one\nline two"\n'.encode()
    if ending.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    assert read_rows(content, f"x.{ending}") == rows


def test_a_csv_without_a_header_takes_its_columns_from_the_task(tmp_path: Path) -> None:
    source = {"file": "sums.csv", "columns": ["sum", "total"]}
    path = write_task(tmp_path, data=[source])
    (tmp_path / "sums.csv").write_text("2 + 3,5\n\n4 + 4,8\n")
    questions = catalogue.load(path, Sources(offline=True)).task.questions("test", None)
    assert [(q.prompt, q.reference) for q in questions] == [
        ("What is 2 + 3?", "5"),
        ("What is 4 + 4?", "8"),
    ]


TORN = gzip.compress(b'{"a": 1}', mtime=0)[:-6]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "x.jsonl:2: a damaged line: Expecting value"),
        ("x.jsonl", b'{"a": 1}\n\n[1]\n', "x.jsonl:3: each line is one object"),
        ("x.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "x.jsonl:2: not text in UTF-8"),
        ("x.jsonl", b"[" * 100_000, "x.jsonl:1: a damaged line: nested too deeply"),
        ("x.jsonl", b"\n \n", "x.jsonl: holds no rows"),
        ("x.json", b'[{"a": 1},\n{"a" 2}]', "x.json:2: damaged: "),
        ("x.json", b'{"a": 1}', "x.json: a list of objects is wanted"),
        ("x.csv", b"a,b\n1,2\n3\n", "x.csv:3: 1 values for 2 columns"),
        ("x.csv", b'a,b\n1,"2\n', "x.csv:2: a damaged line: unexpected end of data"),
        ("x.csv", b"a,a\n1,2\n", "x.csv:1: two columns have the same name"),
        ("x.csv", b"a,b\n", "x.csv: holds no rows"),
        ("x.parquet", b"PAR1 not", "x.parquet: damaged, or not parquet ("),
        ("x.jsonl.gz", b"not gzip", "x.jsonl.gz: damaged, or not gzip ("),
        ("x.jsonl.gz", TORN, "x.jsonl.gz: damaged, or not gzip ("),
        ("x.txt", b"", "x.txt: not a format of data; .jsonl, "),
    ],
)
def test_a_damaged_file_is_named_with_its_line(name: str, content: bytes, said: str) -> None:
    with pytest.raises(EvaluationError) as raised:
        read_rows(content, name)
    assert str(raised.value).startswith(said)


def test_duplicate_ids_are_an_error_that_names_both_rows(tmp_path: Path) -> None:
    path = write_task(tmp_path, [*ROWS, ROWS[1]], id="{{ sum }}")
    with pytest.raises(EvaluationError, match=r"row 3 of .*: the id 4 \+ 4 is that of row 1, too"):
        catalogue.load(path, Sources(offline=True))


def test_the_task_files_own_folder_comes_before_the_data_folder(tmp_path: Path) -> None:
    path = write_task(tmp_path / "own")
    write_task(tmp_path / "data", ROWS[:1])
    sources = Sources(tmp_path / "data", offline=True)
    assert catalogue.load(path, sources).count == 3
    (tmp_path / "own" / "sums.jsonl").unlink()
    assert catalogue.load(path, sources).count == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a zip", "damaged, or the password is wrong"),
        (AES_ZIP, "encrypted with AES, which Python's zipfile cannot read; unpack it yourself"),
    ],
)
def test_a_zip_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, said: str) -> None:
    path = write_task(tmp_path, data=[{"file": "x.zip", "member": "a.csv"}])
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(EvaluationError, match=said):
        catalogue.load(path, Sources(offline=True))


def test_a_zip_without_a_password_and_one_with_two_such_files(tmp_path: Path) -> None:
    path = write_task(tmp_path, data=[{"file": "x.zip", "member": "s.jsonl"}])
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("deep/down/s.jsonl", lines)
        archive.writestr("deep/other_s.jsonl", "noise")
    assert catalogue.load(path, Sources(offline=True)).count == 3
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("s.jsonl", lines)
    with pytest.raises(EvaluationError, match=r"x\.zip: holds more than one s\.jsonl"):
        catalogue.load(path, Sources(offline=True))
