"""A report as page, Markdown and figure; two runs against each other; the commands."""

import json
import re
from pathlib import Path

import pytest
from reported import (
    MERGED,
    TUNED,
    merge_report,
    write_evaluation,
    write_everything,
    write_merge,
    write_overlap,
)
from typer.testing import CliRunner

from weightlens.errors import InputError
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.report.joined import joined
from weightlens.report.report_figure import write_report_figure
from weightlens.report.report_markdown import report_markdown
from weightlens.report.report_page import write_report_page
from weightlens.report.run_pair import compare_runs
from weightlens.report.runs import read_runs
from weightlens.report.subject import Subject, subject_of
from weightlens.survey.result import OverlapReport
from weightlens.survey.summary import summarise
from weightlens_cli.main import app

runner = CliRunner()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_everything(folder)
    return folder


@pytest.fixture(scope="module")
def subject(everything: Path) -> Subject:
    names = ("runs/merged", "evaluation", "overlap.json")
    return subject_of(read_runs([everything / name for name in names]))


def own_part(file: Path) -> str:
    return re.sub(r"<script.*?</script>", "", file.read_text(), flags=re.S)


def test_a_page_has_a_section_for_all_that_there_is_and_nothing_empty(
    subject: Subject, everything: Path, tmp_path: Path
) -> None:
    write_report_page(subject, tmp_path / "all.html")
    titles = re.findall(r"<h2>(.*?)</h2>", own_part(tmp_path / "all.html"))
    assert titles == [
        "Verdict", "Recipe", "Overlap before and as written", "Overlap with the base",
        "Paired differences", "Samples", "Provenance",
    ]  # fmt: skip
    alone = subject_of(read_runs([everything / "overlap.json"]))
    write_report_page(alone, tmp_path / "overlap.html")
    own = own_part(tmp_path / "overlap.html")
    assert re.findall(r"<h2>(.*?)</h2>", own) == ["Overlap with the base", "Provenance"]
    assert "class='verdict'" not in own


def test_counts_lead_to_samples_only_where_there_are_samples(tmp_path: Path) -> None:
    for name, answers in (("with", True), ("without", False)):
        write_evaluation(tmp_path / name, None, answers=answers)
        write_report_page(subject_of(read_runs([tmp_path / name])), tmp_path / f"{name}.html")
        own = own_part(tmp_path / f"{name}.html")
        assert ("class='flips'" in own) is answers
        assert ("Samples" in re.findall(r"<h2>(.*?)</h2>", own)) is answers


def test_what_recipes_and_models_are_called_is_text(subject: Subject, tmp_path: Path) -> None:
    write_report_page(subject, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert(1)" not in text
    assert "&lt;chat template&gt;" in text


def test_a_page_that_may_be_pushed_holds_no_harmful_answer(
    subject: Subject, tmp_path: Path
) -> None:
    write_report_page(subject, tmp_path / "folded.html")
    write_report_page(subject, tmp_path / "withheld.html", withheld=True)
    blocks = [
        json.loads(found)
        for name in ("folded", "withheld")
        for found in re.findall(r"id='draws-1-0'>(.*?)</script>",
                                (tmp_path / f"{name}.html").read_text(), re.S)
    ]  # fmt: skip
    harmful = [[row for row in block if row[0] >= 40] for block in blocks]
    assert "secret powder" in str(harmful[0])
    assert "secret powder" not in str(harmful[1])


def test_provenance_names_every_hash_version_and_warning(subject: Subject, tmp_path: Path) -> None:
    write_report_page(subject, tmp_path / "r.html")
    own = own_part(tmp_path / "r.html")
    provenance = own[own.index("<h2>Provenance") :]
    for told in ("b1", "b2", "p1", subject.merges[0][0].hash, "torch 2", "split", "sums 1"):
        assert f"{told}" in provenance
    assert "warning: sources differ in" in provenance


def test_markdown_has_the_verdict_the_scores_and_what_was_stripped(subject: Subject) -> None:
    text = report_markdown(subject)
    assert text.startswith("### merged\n\nKeeps sums: no detectable loss against base (one")
    assert "| % [95 % interval] | base | tuned<br>source | merged<br>merge |" in text
    assert "| **92.5 [82.5, 102.5]** |" in text
    assert "| row of tuned | 0.200 | 0.400 | 0.000 | 1.0e-09 | **0.010** |" in text
    assert "```yaml\nmerge_method: strip\n" in text
    # a fence in a recipe does not end the block
    odd = merge_report(recipe="# ```\nmerge_method: linear\n")
    merged, _ = subject.merges[0]
    changed = type(merged)(merged.file, odd, merged.hash)
    assert "````yaml\n# ```\n" in report_markdown(Subject([(changed, None)], [], [], []))


def test_a_figure_is_the_same_bytes_every_time_and_needs_no_font(
    subject: Subject, tmp_path: Path
) -> None:
    for name in ("a.svg", "b.svg"):
        write_report_figure(*subject.merges[0], tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "<text" not in (tmp_path / "a.svg").read_text()
    merged, _ = subject.merges[0]
    bare = type(merged)(merged.file, merge_report(matrices=[]), None)
    with pytest.raises(InputError, match="neither scores nor a strip"):
        write_report_figure(bare, None, tmp_path / "c.svg")


def test_two_merges_differ_by_recipe_and_by_overlap_as_written(tmp_path: Path) -> None:
    write_merge(tmp_path / "a")
    write_merge(tmp_path / "b", recipe="merge_method: linear\n", matrices=[])
    pair = compare_runs(tmp_path / "a", tmp_path / "b")
    values = {value.what: value for value in pair.values}
    assert (values["method"].a, values["method"].b) == ("strip", "linear")
    assert values["row overlap of tuned, as written"].b is None
    assert "-merge_method: strip" in pair.recipe
    assert "+merge_method: linear" in pair.recipe


def test_two_evaluations_are_paired_where_the_answers_lie_beside_them(tmp_path: Path) -> None:
    for name, answers in (("a", True), ("b", True), ("bare", False)):
        write_evaluation(tmp_path / name, "c1", answers=answers)
    pair = compare_runs(tmp_path / "a", tmp_path / "b")
    values = {value.what: value for value in pair.values}
    assert len(values) == 9
    assert values["merged: sums"].difference == 0
    assert values["merged: sums"].sentence.startswith("no detectable loss: 0.0 points")
    unpaired = compare_runs(tmp_path / "a", tmp_path / "bare").values
    assert all(value.p is None and value.sentence == "" for value in unpaired)


def test_two_overlaps_are_compared_module_by_module(tmp_path: Path) -> None:
    write_overlap(tmp_path / "a.json", TUNED)
    write_overlap(tmp_path / "b.json", MERGED, times=0.9)
    pair = compare_runs(tmp_path / "a.json", tmp_path / "b.json")
    values = {value.what: value for value in pair.values}
    change = values["tuned: all, row ÷ chance"]
    assert change.difference is not None
    assert change.difference < 0
    # seven modules and all, on two sides
    assert len(values) == 16


def test_runs_of_no_kind_in_common_are_not_compared(everything: Path) -> None:
    with pytest.raises(InputError, match="only two merges, two evaluations or two overlaps"):
        compare_runs(everything / "runs" / "merged", everything / "evaluation")


def test_the_commands_write_what_they_are_asked_for(everything: Path, tmp_path: Path) -> None:
    named = [str(everything / name) for name in ("runs/merged", "evaluation")]
    page, figure = tmp_path / "r.html", tmp_path / "r.svg"
    done = runner.invoke(app, ["report", *named, "--html", str(page), "--svg", str(figure)])
    assert (done.exit_code, done.output) == (0, f"page: {page}\nfigure: {figure}\n")
    assert page.exists()
    assert figure.exists()
    assert runner.invoke(app, ["report", *named]).output.startswith("### merged")
    listing = runner.invoke(app, ["runs", str(everything), "--json", "-"])
    assert len(json.loads(listing.output)["runs"]) == 3
    assert "row overlap" in runner.invoke(app, ["runs", str(everything)]).output
    pair = runner.invoke(app, ["runs", named[0], named[0]])
    assert "The recipes are the same." in pair.output
    refused = runner.invoke(app, ["runs", *named, str(page)])
    assert refused.exit_code == 2
    assert "one folder to list, or two runs" in refused.stderr


def test_an_extracted_adapter_has_its_share_of_the_delta_in_a_report(tmp_path: Path) -> None:
    done = runner.invoke(app, ["extract", str(SHIPPED / "base"), str(SHIPPED / "safe-full"),
                               str(tmp_path / "adapter"), "--rank", "2"])  # fmt: skip
    assert done.exit_code == 0, done.output
    subject = subject_of(read_runs([tmp_path / "adapter"]))
    assert re.search(r"#### Adapter out of .*\n\n[\d.]+ % of ‖Δ‖² kept", report_markdown(subject))
    write_report_page(subject, tmp_path / "a.html")
    assert "<h2>Extracted adapter</h2>" in own_part(tmp_path / "a.html")


def overlaps_of(folder: Path, **modules: str) -> Subject:
    """Reports by the names of their files, each of the tuned model on the modules that end so."""
    for name, end in modules.items():
        write_overlap(folder / f"{name}.json", TUNED)
        report = OverlapReport.from_file(folder / f"{name}.json")
        (model,) = report.models
        kept = [m for m in model.matrices if m.module.endswith(end)]
        cut = model.model_copy(update={"matrices": kept, "summary": summarise(kept)})
        report = report.model_copy(update={"models": [cut]})
        (folder / f"{name}.json").write_text(report.to_json())
    return subject_of(read_runs([folder / f"{name}.json" for name in modules]))


def test_overlaps_of_one_model_on_other_matrices_are_both_shown(tmp_path: Path) -> None:
    (tmp_path / "mlp").mkdir()
    subject = overlaps_of(tmp_path / "mlp", up="up_proj", down="down_proj")
    write_report_page(subject, tmp_path / "r.html")
    own = own_part(tmp_path / "r.html")
    titles = re.findall(r"<h2>(.*?)</h2>", own)
    assert titles[:2] == ["Overlap with the base: mlp/up", "Overlap with the base: mlp/down"]
    text = (tmp_path / "r.html").read_text()
    assert "layers.3.mlp.up_proj.weight" in text
    assert "layers.3.mlp.down_proj.weight" in text
    markdown = report_markdown(subject)
    for name in ("up", "down"):
        assert f"#### Overlap with models/base (mlp/{name})\n" in markdown


def test_overlaps_of_other_models_are_one_table_and_the_same_twice_is_one_row(
    tmp_path: Path,
) -> None:
    for name, model in (("a", TUNED), ("b", MERGED), ("again", TUNED)):
        write_overlap(tmp_path / f"{name}.json", model)
    runs = joined(read_runs([tmp_path / f"{name}.json" for name in ("a", "b", "again")]))
    (run,) = runs
    assert isinstance(run.report, OverlapReport)
    assert [model.model for model in run.report.models] == [TUNED, MERGED]
