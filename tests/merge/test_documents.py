"""Several recipes in one file: their order, their names, and what is left when one fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import write_adapter
from safetensors.torch import save_file
from worded import added, linear, settle, tensors_of, worded, words

from weightlens.errors import InputError, NonFiniteTensor, OutputError, RecipeError, ShapeMismatch
from weightlens.merge.documents import read_documents, split
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.job import Job
from weightlens.merge.running import Run
from weightlens.report.inspect_tables import inspect_tables
from weightlens.survey.inspect import inspect_model


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the models a, b and c."""
    for seed, name in enumerate("abc", start=1):
        worded(tmp_path / name, seed, words(32))
    return tmp_path


def written(folder: Path, *recipes: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text("\n---\n".join(recipes) + "\n")
    return file


def two_steps(models: Path) -> Path:
    """The mean of a and b; half of what leads from c to it, added to c."""
    first = linear(models / "a", models / "b", name="first")
    return written(models, first, added(models / "c", "first"))


def by_hand(models: Path) -> Path:
    """The same in two merges."""
    run_merge(written(models, linear(models / "a", models / "b")), models / "mean")
    run_merge(written(models, added(models / "c", models / "mean")), models / "expected")
    return models / "expected"


def test_documents_come_with_the_lines_that_they_begin_in() -> None:
    text = "---\na: 1\n---\n# nothing\n\n---\nb: |\n  ---\n  text\n--- # the last\nc: 1\n"
    assert list(split(text)) == [
        (2, "a: 1\n"),
        (7, "b: |\n  ---\n  text\n"),
        (10, "    # the last\nc: 1\n"),
    ]


def test_what_follows_the_dashes_in_their_line_counts(tmp_path: Path) -> None:
    first, second = linear("x", "y", name="one"), linear("one", "x")
    (tmp_path / "recipe.yaml").write_text(f"--- {first}\n--- {second}\n")
    assert list(read_documents(tmp_path / "recipe.yaml").steps) == ["one"]


def test_a_recipe_comes_after_those_that_it_needs(tmp_path: Path) -> None:
    documents = read_documents(written(
        tmp_path,
        added("one", "two"),  # without a name: the output, wherever it stands
        linear("one", "x", name="two"),
        linear("x", "y", name="one"),
    ))  # fmt: skip
    assert list(documents.steps) == ["one", "two"]
    assert documents.last.recipe.name is None


def test_where_all_have_names_the_last_is_the_output(tmp_path: Path) -> None:
    documents = read_documents(
        written(tmp_path, linear("x", "y", name="one"), linear("one", "x", name="two"))
    )
    assert (list(documents.steps), documents.last.recipe.name) == (["one"], "two")


def test_a_recipe_that_nothing_needs_is_left_out_with_a_warning(models: Path) -> None:
    file = written(
        models,
        linear("no/such", "model", name="idle"),
        linear("idle", "nothing", name="further"),
        linear(models / "a", models / "b"),
    )
    assert read_documents(file).unused == ("idle", "further")
    (plan,) = plan_merge(file)
    assert [w.split(": ")[1] for w in plan.warnings] == [
        "nothing needs the recipe idle; left out", "nothing needs the recipe further; left out",
    ]  # fmt: skip
    assert run_merge(file, models / "out").warnings == plan.warnings


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([linear("x", "y"), linear("x", "z")], ":3: two recipes of the file have no name"),
        ([linear("x", "y", name="one"), linear("x", "z", name="one"), linear("one", "x")],
         ":3: name: one is given twice"),
        ([linear("x", "y", name="one"), linear("one", "z", name="one")],
         ":3: name: one is given twice"),
        ([linear("x", "two", name="one"), linear("x", "one", name="two"), linear("one", "x")],
         "recipes wait for each other: one → two → one"),
        ([linear("x", "last", name="one"), linear("one", "x", name="last")],
         "recipes wait for each other: last → one → last"),
        ([linear("x", "one", name="one"), linear("one", "x")],
         ":1: recipes wait for each other: one → one"),
        ([linear("x", "y", name="../one"), linear("../one", "x")], ":1: name: '../one': a name"),
        ([linear("x", "y", name="/one"), linear("/one", "x")], ":1: name: '/one': a name"),
        ([linear("x", "y", name=".."), linear("..", "x")], ":1: name: '..': a name"),
        ([linear("x", "y", name="one"), "merge_method: linear\nmodles: []"],
         ":4: modles: unknown key; did you mean 'modules' or 'models'?"),
        ([linear("x", "y", name="one"), "# more\n\nmerge_method: [linear"], ":6: not valid YAML"),
        ([linear("x", "y", name="one"), "- linear"], ":3: a recipe is a mapping"),
        (["# nothing"], ":1: a recipe is a mapping"),
    ],
)  # fmt: skip
def test_mistakes_are_answered_with_the_line_in_the_file(
    tmp_path: Path, recipes: list[str], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read_documents(written(tmp_path, *recipes))
    assert str(caught.value).startswith(f"{tmp_path / 'recipe.yaml'}:")
    assert message in str(caught.value)


def test_two_recipes_give_what_two_merges_give(models: Path) -> None:
    expected = by_hand(models)
    plans = plan_merge(two_steps(models))
    report = run_merge(two_steps(models), models / "out")
    assert [p.bytes_written for p in plans] == [report.bytes] * 2
    assert [p.name for p in models.glob("out*")] == ["out"]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (models / "out" / name).read_bytes() == (expected / name).read_bytes()
    assert list(report.steps) == ["first"]
    assert report.steps["first"].bytes == report.bytes
    (first,) = report.sources
    assert first.model == "first"
    assert first.commit is None


def test_steps_need_not_stand_in_their_order(models: Path) -> None:
    run_merge(two_steps(models), models / "there")
    first, second = two_steps(models).read_text().split("\n---\n")
    run_merge(written(models, second, first), models / "back")
    there, back = (models / name / "model.safetensors" for name in ("there", "back"))
    assert there.read_bytes() == back.read_bytes()


def test_an_adapter_goes_on_top_of_a_step(models: Path) -> None:
    write_adapter(models / "lora", tensors_of(models / "a"))
    first = linear(models / "a", models / "b", name="first")
    lora = f"first+{models / 'lora'}"
    run_merge(written(models, first, added("first", lora)), models / "out")
    run_merge(written(models, linear(models / "a", models / "b")), models / "mean")
    mean, lora = models / "mean", f"{models / 'mean'}+{models / 'lora'}"
    run_merge(written(models, added(mean, lora)), models / "expected")
    out, expected = tensors_of(models / "out"), tensors_of(models / "expected")
    assert all(torch.equal(out[name], expected[name]) for name in expected)
    assert not torch.equal(out["model.layers.0.mlp.up_proj.weight"],
                           tensors_of(mean)["model.layers.0.mlp.up_proj.weight"])  # fmt: skip


def test_the_plan_knows_what_will_lie_beside_a_step(models: Path) -> None:
    """The second recipe's base is the step: its tokenizer, its template and its end of text."""
    (models / "a" / "chat_template.jinja").write_text("{{ a }}")
    settle(models / "c" / "config.json", eos_token_id=2)
    first = linear(models / "a", models / "b", name="first", chat_template="{{ own }}")
    file = written(models, first, added("first", models / "c", tokenizer_source="base"))
    _, plan = plan_merge(file)
    assert (plan.engine, plan.reasons) == ("weightlens", [])
    (warning,) = plan.warnings  # c has no template, and so no other
    assert "eos_token_id in config.json is 1 in the merge, as in first, but 2" in warning
    assert run_merge(file, models / "out").warnings == plan.warnings
    assert (models / "out" / "chat_template.jinja").read_text() == "{{ own }}"


def test_a_step_may_give_the_tokenizer_alone(models: Path) -> None:
    worded(models / "d", 4, words(32), template="{{ d }}")
    file = written(
        models,
        linear(models / "d", models / "a", name="speaker"),
        linear(models / "b", models / "c", tokenizer_source="speaker"),
    )
    plans = plan_merge(file)
    assert [plan.engine for plan in plans] == ["weightlens"] * 2
    run_merge(file, models / "out")
    assert (models / "out" / "chat_template.jinja").read_text() == "{{ d }}"


def test_a_shape_that_does_not_fit_the_step_is_known_before_anything_runs(models: Path) -> None:
    worded(models / "c", 3, words(32), rows=30)
    for attempt in (lambda: plan_merge(two_steps(models)),
                    lambda: run_merge(two_steps(models), models / "out")):  # fmt: skip
        with pytest.raises(ShapeMismatch, match=r"lm_head.weight is 32 x 24 in first but 30 x 24"):
            attempt()
    assert not list(models.glob("out*"))


def test_a_step_that_only_mergekit_can_do_is_refused(models: Path) -> None:
    worded(models / "b", 2, words(32, first="v"))
    first = linear(models / "a", models / "b", name="first", tokenizer_source="union")
    with pytest.raises(RecipeError, match=r"first: a step of several .* vocabularies of .* differ"):
        run_merge(written(models, first, added(models / "c", "first")), models / "out")
    assert not list(models.glob("out*"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tensors that are computed."""
    names: list[str] = []
    blocks = Run.blocks

    def counted(run: Run, job: Job) -> Iterator[tuple[int, torch.Tensor]]:
        names.append(job.name)
        return blocks(run, job)

    monkeypatch.setattr(Run, "blocks", counted)
    return names


def test_a_run_that_stopped_between_steps_does_not_redo_the_first(
    models: Path, computed: list[str]
) -> None:
    expected = by_hand(models)
    file, tensors = two_steps(models), len(tensors_of(models / "a"))
    computed.clear()

    def stop(done: int, total: int, name: str) -> None:
        if len(computed) > tensors + 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_merge(file, models / "out", workers=1, progress=stop)
    assert {f.name for f in models.glob("out*")} == {"out.partial", "out.steps"}
    computed.clear()
    report = run_merge(file, models / "out")
    assert 0 < len(computed) < tensors
    assert (models / "out/model.safetensors").read_bytes() == \
        (expected / "model.safetensors").read_bytes()  # fmt: skip
    assert list(report.steps) == ["first"]
    assert [f.name for f in models.glob("out*")] == ["out"]


def test_a_step_is_made_anew_where_it_would_be_another(models: Path, computed: list[str]) -> None:
    file = two_steps(models)
    broken = tensors_of(models / "c")
    broken["model.norm.weight"][0] = torch.nan
    good = (models / "c" / "model.safetensors").read_bytes()
    save_file(broken, models / "c" / "model.safetensors")
    with pytest.raises(NonFiniteTensor, match=r"c: model\.norm\.weight holds NaN"):
        run_merge(file, models / "out")
    assert [f.name for f in models.glob("out*")] == ["out.steps"]
    (models / "c" / "model.safetensors").write_bytes(good)
    first = linear(models / "b", models / "c", name="first")
    computed.clear()
    run_merge(written(models, first, added(models / "c", "first")), models / "out")
    assert len(computed) == 2 * len(broken)


def test_folders_of_others_beside_the_output_are_not_touched(models: Path) -> None:
    steps = models / "out.steps"
    steps.mkdir()
    (steps / "thesis.tex").touch()
    run_merge(written(models, linear(models / "a", models / "b")), models / "out")
    run_merge(two_steps(models), models / "out", overwrite=True)
    assert [f.name for f in steps.iterdir()] == ["thesis.tex"]
    (steps / "first").mkdir()
    (steps / "first" / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"first: is no earlier merge"):
        run_merge(two_steps(models), models / "out", overwrite=True)
    assert (steps / "first" / "thesis.tex").exists()


def test_what_went_into_the_steps_is_shown(models: Path) -> None:
    run_merge(two_steps(models), models / "out")
    report = inspect_model(str(models / "out"))
    said = "\n".join(line for line in inspect_tables(report) if isinstance(line, str))
    assert "source first, hash" in said
    assert "first, a step of it, plan" in said
    assert f"source {models / 'a'}, hash" in said and f"source {models / 'b'}, hash" in said
    assert report.provenance is not None
    assert "checksums" not in report.provenance["steps"]["first"]


def test_one_recipe_alone_needs_no_steps(models: Path) -> None:
    file = written(models, linear(models / "a", models / "b", name="only"))
    assert run_merge(file, models / "out").steps == {}
    with pytest.raises(InputError):
        run_merge(written(models, linear("only", models / "b")), models / "further")
