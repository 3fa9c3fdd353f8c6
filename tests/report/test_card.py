"""The card of a merge: what is in it, what is not, and when it is not written."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest
from card_results import evaluation, saved
from carded import ADAPTER, STRIP, copied, merged
from evaluated import REFUSALS
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index
from PIL import Image

from weightlens.checkpoint.digests import content_hash
from weightlens.errors import InputError, OutputError
from weightlens.merge.extract import extract_adapter
from weightlens.report.card import draft_card, write_card
from weightlens.report.card_check import check_card
from weightlens.report.licences import Licence
from weightlens.survey.overlap import measure_overlap

APACHE = "license: apache-2.0\nlanguage: en\ndatasets: [org/words]"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded models, each with a card of its own."""
    folder = tmp_path_factory.mktemp("alice") / "models"
    more = "license: apache-2.0\nlanguage: [en, de]\ndatasets: [org/words, org/safety]"
    return copied(folder, {"base": APACHE, "safe-full": more, "safe-lora": APACHE})


@pytest.fixture(scope="module")
def strip(models: Path) -> Path:
    """A merge whose delta was stripped."""
    return merged(models, models.parent / "strip")


@pytest.fixture(scope="module")
def adapter(models: Path) -> Path:
    """A merge that is an adapter."""
    return merged(models, models.parent / "adapter", ADAPTER, "safe-lora")


@pytest.fixture
def folder(strip: Path, tmp_path: Path) -> Path:
    """The stripped merge without a card, for a test to write one."""
    out = tmp_path / "strip"
    out.mkdir()
    for file in strip.iterdir():
        if file.name not in ("README.md", "overlap.png"):
            (out / file.name).symlink_to(file)
    return out


def test_metadata_survives_the_round_trip(models: Path, folder: Path, tmp_path: Path) -> None:
    found = saved(evaluation(models, folder), tmp_path / "eval.json")
    card = ModelCard.load(write_card(folder, results=[found], repo="org/merge"))
    data = card.data.to_dict()
    assert ModelCardData(**data).to_dict() == data
    assert data["license"] == "apache-2.0"
    assert (data["language"], data["datasets"]) == (["en", "de"], ["org/words", "org/safety"])
    assert (data["base_model_relation"], data["library_name"]) == ("merge", "transformers")
    assert data["tags"] == ["merge", "weightlens", "strip"]
    assert data["pipeline_tag"] == "text-generation"
    assert "base_model" not in data  # they were folders
    assert check_card(folder) == []


def test_the_index_has_the_values_of_the_report(models: Path, folder: Path, tmp_path: Path) -> None:
    found = evaluation(models, folder)
    card = ModelCard.load(write_card(folder, results=[saved(found, tmp_path / "eval.json")]))
    own = found.models[-1].tasks
    results = card.data.eval_results
    assert [r.metric_value for r in results] == [task.value for task in own]
    assert [r.metric_name for r in results] == [
        "accuracy", f"{REFUSALS}, unsafe", f"{REFUSALS}, safe"
    ]  # fmt: skip
    assert [r.dataset_type for r in results] == ["openai/gsm8k", "Paul/XSTest", "Paul/XSTest"]
    assert not any(r.verified for r in results)
    index = eval_results_to_model_index(card.data.model_name, results)
    assert index == card.data.to_dict()["model-index"]
    assert [len(one["metrics"]) for one in index[0]["results"]] == [1, 2]


def test_the_text_tells_scores_strips_and_limits(
    models: Path, folder: Path, tmp_path: Path
) -> None:
    found = saved(evaluation(models, folder), tmp_path / "eval.json")
    text = write_card(folder, results=[found]).read_text()
    assert "| **this model** | `base`<br>(base) | `safe-full`<br>(source) |" in text
    assert "**60.0**<br>[50.0,\u00a070.0]" in text
    assert "4.0 % truncated" in text
    assert "this model against `base`: −4.0 points" in text
    assert "heuristic v1 against people's labels" in text
    assert "not a proof" in text
    assert re.search(r"\| `safe-full` \| row \| 0\.185 \| 0\.246 \| 0\.185 \| \*\*0\.185\*\*", text)


def test_without_results_it_says_that_nothing_is_known(folder: Path) -> None:
    text = write_card(folder).read_text()
    assert "**Not measured.**" in text
    assert "**Safety was not measured.**" in text
    assert "model-index" not in text


def test_no_path_of_the_machine_is_told(models: Path, folder: Path, tmp_path: Path) -> None:
    overlap = measure_overlap(str(models / "base"), [str(models / "safe-full"), str(folder)])
    (tmp_path / "overlap.json").write_text(overlap.to_json())
    found = saved(
        evaluation(models, folder, notes=[f"xstest: {models}/x.csv holds 3"]), tmp_path / "e.json"
    )
    text = write_card(folder, results=[found, tmp_path / "overlap.json"]).read_text()
    for told in (str(tmp_path), str(models), "alice", str(Path.home()) + "/"):
        assert told not in text
    assert "base_model: base\n" in text and "# kept at strip.txt" in text


def test_a_token_in_the_record_stops_the_card(folder: Path) -> None:
    record = folder / "weightlens.json"
    text = record.read_text().replace("# kept at", f"# hf_{'a' * 34} kept at")
    record.unlink()
    record.write_text(text)
    with pytest.raises(InputError, match="token"):
        write_card(folder)


def test_all_documents_of_a_recipe_name_their_methods(folder: Path) -> None:
    """As mergekit's own engine leaves them: with no steps apart."""
    record = folder / "weightlens.json"
    held = json.loads(record.read_text())
    held["recipe"] = "name: a\nmerge_method: ties\n---\nmerge_method: slerp\n"
    record.unlink()
    record.write_text(json.dumps(held))
    card = ModelCard.load(write_card(folder))
    assert "by the methods `ties` and `slerp`" in card.text
    assert card.data.tags == ["merge", "weightlens", "ties", "slerp"]


def test_the_picture_is_there_and_small(folder: Path) -> None:
    text = write_card(folder).read_text()
    picture = folder / "overlap.png"
    assert "](overlap.png)" in text
    assert 1_000 < picture.stat().st_size < 150_000
    assert Image.open(picture).width > 600
    assert draft_card(folder).picture == picture.read_bytes()


def test_overlap_that_was_measured_apart_is_shown(models: Path, tmp_path: Path) -> None:
    plain = STRIP.replace("strip\nbase", "task_arithmetic\nbase").replace("parameters: {{side", "#")
    out = merged(models, tmp_path / "plain", plain)
    overlap = measure_overlap(str(models / "base"), [str(models / "safe-full"), str(out)])
    (tmp_path / "overlap.json").write_text(overlap.to_json())
    text = write_card(out, results=[tmp_path / "overlap.json"]).read_text()
    means = overlap.models[0].summary.all
    assert f"| `safe-full` | {means.column_by_energy:.3f} | {means.column_over_chance:.2f}×" in text
    assert "| **this model** |" in text and "Nothing was stripped." in text
    assert 1_000 < (out / "overlap.png").stat().st_size < 150_000


def test_results_of_another_model_are_refused(models: Path, folder: Path, tmp_path: Path) -> None:
    found = evaluation(models, folder)
    other = found.model_copy(update={"models": found.models[:2], "pairs": []})
    with pytest.raises(InputError, match="results of other models"):
        write_card(folder, results=[saved(other, tmp_path / "other.json")])
    changed = found.models[2].model_copy(update={"hash": "0" * 32})
    stale = found.model_copy(update={"models": [*found.models[:2], changed]})
    with pytest.raises(InputError, match="other weights"):
        write_card(folder, results=[saved(stale, tmp_path / "stale.json")])
    overlap = measure_overlap(str(models / "base"), [str(models / "unrelated")])
    (tmp_path / "overlap.json").write_text(overlap.to_json())
    with pytest.raises(InputError, match="holds neither"):
        write_card(folder, results=[tmp_path / "overlap.json"])
    assert not (folder / "README.md").exists()


def test_results_of_an_adapter_are_those_on_its_own_base(
    models: Path, adapter: Path, tmp_path: Path
) -> None:
    found = evaluation(models, adapter)
    *others, own = found.models
    for base, known in ((content_hash(models / "base"), True), ("0" * 32, False)):
        on_base = own.model_copy(update={"hash": f"{base}+{own.hash}"})
        file = saved(
            found.model_copy(update={"models": [*others, on_base]}), tmp_path / f"{known}.json"
        )
        if known:
            assert "| **this model** |" in draft_card(adapter, results=[file]).text
        else:
            with pytest.raises(InputError, match="other weights"):
                draft_card(adapter, results=[file])


def test_results_without_hashes_belong_to_the_folder_that_they_name(
    models: Path, folder: Path, tmp_path: Path
) -> None:
    found = evaluation(models, folder)
    without = [model.model_copy(update={"hash": None}) for model in found.models]
    file = saved(found.model_copy(update={"models": without}), tmp_path / "eval.json")
    assert "`safe-full`<br>(source)" in write_card(folder, results=[file]).read_text()


def test_an_edited_card_is_not_overwritten(folder: Path) -> None:
    card = write_card(folder)
    assert write_card(folder, title="another name") == card  # ours, as it was written
    card.write_bytes(card.read_bytes().replace(b"\n", b"\r\n"))  # a checkout on Windows
    write_card(folder)
    card.write_text(card.read_text().replace("## Limits", "## Limits\n\n- Mine."))
    with pytest.raises(OutputError, match=r"was edited since.*--force"):
        write_card(folder)
    assert "- Mine." in card.read_text()
    write_card(folder, force=True)
    assert "- Mine." not in card.read_text()


def test_what_others_made_is_not_overwritten(folder: Path) -> None:
    (folder / "overlap.png").write_bytes(b"a picture")
    with pytest.raises(OutputError, match=r"overlap\.png: was not drawn"):
        write_card(folder)
    (folder / "README.md").write_text("# by hand\n")
    with pytest.raises(OutputError, match="was not written by weightlens"):
        write_card(folder)


def test_an_adapter_has_a_card_of_its_own(adapter: Path) -> None:
    card = ModelCard.load(write_card(adapter, repo="org/safer"))
    data = card.data.to_dict()
    assert (data["base_model_relation"], data["library_name"]) == ("adapter", "peft")
    assert data["tags"] == ["lora", "merge", "weightlens", "task_arithmetic"]
    assert 'PeftModel.from_pretrained(model, "org/safer")' in card.text
    assert "max_lora_rank=8" in card.text
    assert "LoRA adapter for `base`, merged from `safe-lora`" in card.text
    assert str(adapter.parent) not in card.text


def test_an_extracted_adapter_says_how_near_it_is(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "extracted"
    extract_adapter(str(models / "base"), str(models / "safe-full"), out)
    card = ModelCard.load(write_card(out))
    assert "merge" not in card.data.tags
    assert "weightlens extract path/to/base path/to/safe-full rebuilt" in card.text
    assert str(tmp_path) not in card.text


@pytest.mark.parametrize("kind", ["strip", "adapter"])
def test_the_code_for_transformers_runs(
    kind: str, request: pytest.FixtureRequest, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands in the card, but for the place of the models, and fewer tokens."""
    out: Path = request.getfixturevalue(kind)
    text = draft_card(out, repo="org/name").text
    block = text.split("```python\n")[1].split("\n```")[0]
    block = block.replace("org/name", str(out)).replace("path/to/base", str(models / "base"))
    exec(compile(block.replace("256", "4"), "card", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("kind", ["strip", "adapter"])
@pytest.mark.parametrize("repo", [None, "org/name"])
def test_whatever_the_title_the_code_is_code(
    kind: str, repo: str | None, request: pytest.FixtureRequest
) -> None:
    out: Path = request.getfixturevalue(kind)
    text = draft_card(out, title='my "best" model, \\n of 😀', repo=repo).text
    blocks = [part.split("\n```")[0] for part in text.split("```python\n")[1:]]
    held = [
        node.value
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Constant)
    ]
    place = repo or "OWNER/my-best-model-n-of"
    assert held.count(place) == 2
    assert held.count('my "best" model, \\n of 😀') == (1 if kind == "adapter" else 0)
    commands = text.split("```bash\n")[1].split("\n```")[0]
    assert shlex.split(commands)[:3] == ["hf", "download", place]


def test_folders_without_a_finished_record_have_no_card(tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    with pytest.raises(InputError, match="not finished"):
        write_card(partial)


def test_steps_name_what_went_into_them(models: Path, tmp_path: Path) -> None:
    first = "name: first\nmerge_method: ties\nbase_model: {base}\nmodels:\n  - model: {tuned}\n"
    first += "    parameters: {{weight: 1.0, density: 0.5}}\ndtype: float32\n---\n"
    last = "merge_method: slerp\nbase_model: {base}\nmodels:\n  - model: first\n"
    out = merged(models, tmp_path / "two", f"{first}{last}parameters: {{{{t: 0.4}}}}\n")
    draft = draft_card(out, licence=Licence("mit"))
    assert "merge of `safe-full` into `base` by the methods `ties` and `slerp`" in draft.text
    assert "# step: first" in draft.text and "model: first" in draft.text
    assert [w for w in draft.warnings if "licence" in w] == []
    assert json.loads((out / "weightlens.json").read_text())["steps"]
