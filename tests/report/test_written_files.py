"""Commands that write files name them, and nothing spoils what goes to standard output."""

import json
from pathlib import Path

import pytest
from checkpoints import Folders
from reported import write_everything
from typer.testing import CliRunner

from weightlens_cli.main import app

runner = CliRunner()


def told(arguments: list[str]) -> list[str]:
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_overlap_names_every_file(folders: Folders, tmp_path: Path) -> None:
    made = {"json": "o.json", "csv": "o.csv", "page": "o.html", "figure": "o.svg"}
    options = [f"--{kind.replace('page', 'html')}={tmp_path / name}" for kind, name in made.items()]
    lines = told(["overlap", str(folders.base), str(folders.full), *options])
    assert lines[-4:] == [f"{kind}: {tmp_path / name}" for kind, name in made.items()]
    assert all((tmp_path / name).is_file() for name in made.values())


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_what_goes_to_standard_output_stays_alone(
    folders: Folders, tmp_path: Path, option: str
) -> None:
    page = tmp_path / "o.html"
    command = ["overlap", str(folders.base), str(folders.full), "--html", str(page), option, "-"]
    lines = told(command)
    assert page.is_file()
    assert str(page) not in "".join(lines)
    if option == "--json":
        json.loads("\n".join(lines))


def test_without_files_nothing_is_named(folders: Folders) -> None:
    lines = told(["overlap", str(folders.base), str(folders.full)])
    assert not any(line.startswith(("json:", "page:")) for line in lines)


def test_report_names_page_figure_and_markdown(tmp_path: Path) -> None:
    runs = [*map(str, write_everything(tmp_path / "runs"))]
    page, figure, text = (tmp_path / name for name in ("r.html", "r.svg", "r.md"))
    lines = told(["report", *runs, "--html", str(page), "--svg", str(figure),
                  "--markdown", str(text)])  # fmt: skip
    assert lines == [f"page: {page}", f"figure: {figure}", f"markdown: {text}"]
    printed = told(["report", *runs, "--html", str(page), "--markdown", "-"])
    assert str(page) not in "\n".join(printed)


def test_compare_inspect_and_runs_name_their_json(folders: Folders, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for command in (
        ["compare", str(folders.base), str(folders.full), str(folders.adapter)],
        ["inspect", str(folders.base)],
        ["runs", str(tmp_path)],
    ):
        assert told([*command, "--json", str(file)])[-1] == f"json: {file}"
