"""Embeddings with different numbers of rows, merged by the rows that the recipe asks for.

By hand, on two columns. `base` fills what a source lacks with the base's rows: there its delta is
0, and its weight the base's. `common` leaves the rows that only some have.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from worded import EMBEDDINGS, added, linear, tensors_of, worded, words

from weightlens.checkpoint.names import TIED
from weightlens.errors import RecipeError, ShapeMismatch
from weightlens.merge.engine import run_merge
from weightlens.merge.record import MatrixRecord
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

EMBED, QUERY = "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"
ROOT = math.sqrt(0.5)


def merged(
    recipe: dict[str, object], *embeddings: list[list[float]], queries: Sequence[Tensor] = ()
) -> tuple[dict[str, Tensor], list[MatrixRecord]]:
    """Merges models m0, m1, …; queries: a matrix of each."""
    models = {
        f"m{i}": {EMBED: torch.tensor(rows, dtype=torch.float32)}
        for i, rows in enumerate(embeddings)
    }
    for model, query in zip(models.values(), queries, strict=False):
        model[QUERY] = query
    return merge_state_dicts(parse_recipe(json.dumps(recipe)), models)


def recipe(method: str, *models: str, base: str | None = None, **settings: object) -> dict:
    listed = [{"model": model, "parameters": {"weight": 1.0}} for model in models]
    named = {} if base is None else {"base_model": base}
    return {"merge_method": method, "models": listed, **named, **settings}


def assert_rows(found: Tensor, expected: list[list[float]]) -> None:
    assert found.shape == (len(expected), 2)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float32), atol=1e-6), found


@pytest.mark.parametrize("policy", ["base", "common"])
def test_pointwise_half_of_a_delta_that_has_fewer_rows(policy: str) -> None:
    """w_0 + ½ (w_1 − w_0): [1 + ½, 1 − ½], [2 + 0, 2 + 1]; the last row is the base's."""
    half = json.loads(added("m0", "m1", embeddings=policy))
    out, _ = merged(half, [[1, 1], [2, 2], [3, 3]], [[2, 0], [2, 4]])
    rows = [[1.5, 0.5], [2, 3], [3, 3]]
    assert_rows(out[EMBED], rows if policy == "base" else rows[:2])


@pytest.mark.parametrize("policy", ["base", "common"])
def test_pointwise_rows_beyond_the_bases_are_dropped(policy: str) -> None:
    half = json.loads(added("m0", "m1", embeddings=policy))
    out, _ = merged(half, [[1, 1], [2, 2]], [[2, 0], [2, 4], [9, 9]])
    assert_rows(out[EMBED], [[1.5, 0.5], [2, 3]])


@pytest.mark.parametrize("policy", ["base", "common"])
def test_two_passes_count_the_rows_that_stay(policy: str) -> None:
    """TIES at density ½ on the delta [4 1] [3 −2] [1 1] from zeros. base: with a row of zeros it
    has 8 entries and keeps 4: 4, 3, −2, and of the ties the first. common: 6, and keeps 3."""
    half = recipe("ties", "m1", base="m0", embeddings=policy, parameters={"density": 0.5})
    out, _ = merged(half, [[0, 0]] * 4, [[4, 1], [3, -2], [1, 1]])
    base, common = [[4, 1], [3, -2], [0, 0], [0, 0]], [[4, 0], [3, -2], [0, 0]]
    assert_rows(out[EMBED], base if policy == "base" else common)


@pytest.mark.parametrize("policy", ["base", "common"])
def test_row_by_row_what_is_lacking_is_as_in_the_first(policy: str) -> None:
    """Halfway on the arc: from [1 0] to [0 1] it is [√½ √½]; between equals there is none."""
    rows = recipe("nuslerp", "m0", "m1", embeddings=policy,
                  parameters={"nuslerp_flatten": False})  # fmt: skip
    out, _ = merged(rows, [[1, 0], [0, 2], [3, 4]], [[0, 1], [0, 2]])
    expected = [[ROOT, ROOT], [0, 2], [3, 4]]
    assert_rows(out[EMBED], expected if policy == "base" else expected[:2])


@pytest.mark.parametrize("policy", ["base", "common"])
def test_by_rank_within_a_row_a_row_without_delta_stays_the_bases(policy: str) -> None:
    """DELLA that keeps all; the delta of the last row is 0."""
    settings = {"density": 1.0, "epsilon": 0.0}
    all_kept = recipe("della_linear", "m1", base="m0", embeddings=policy, parameters=settings)
    out, _ = merged(all_kept, [[1, 1], [2, 2], [3, 3]], [[2, 0], [2, 4]])
    rows = [[2, 0], [2, 4], [3, 3]]
    assert_rows(out[EMBED], rows if policy == "base" else rows[:2])


def test_the_mean_has_the_rows_of_the_first_where_none_is_the_base() -> None:
    out, _ = merged(recipe("linear", "m0", "m1", embeddings="base"), [[1, 1], [2, 2]], [[3, 5]])
    assert_rows(out[EMBED], [[2, 3], [2, 2]])


def test_the_mean_has_the_rows_of_the_base_that_the_recipe_names() -> None:
    """The second model's; what the others lack is taken from there, though a third has it, too."""
    mean = recipe("linear", "m0", "m1", "m2", base="m1", embeddings="base")
    out, _ = merged(mean, [[3, 0]], [[0, 3], [6, 6]], [[3, 3], [0, 3], [9, 9]])
    assert_rows(out[EMBED], [[2, 2], [4, 5]])


def test_a_strip_leaves_embeddings_alone_and_their_rows_to_the_policy() -> None:
    """The base diag(2, 1) has e_1 for its first left vector; a strip of rank 1 at strength 1 takes
    the first row from the delta, all ones."""
    strip = {"strip": {"side": "column", "rank": 1, "strength": 1.0}}
    asked = recipe("task_arithmetic", "m1", base="m0", embeddings="base", transforms=[strip])
    base = torch.diag(torch.tensor([2.0, 1.0]))
    out, records = merged(asked, [[1, 1], [2, 2]], [[5, 5]], queries=[base, base + 1])
    assert_rows(out[QUERY], [[2, 0], [1, 2]])
    assert_rows(out[EMBED], [[5, 5], [2, 2]])
    assert [record.name for record in records] == [QUERY]


def test_without_a_policy_the_error_names_all_of_them() -> None:
    with pytest.raises(ShapeMismatch) as caught:
        merged(recipe("linear", "m0", "m1"), [[1, 1], [2, 2]], [[3, 5]])
    assert str(caught.value) == (
        f"{EMBED} is 1 x 2 in m1 but 2 x 2 in m0: the vocabularies differ; say embeddings: base "
        "(the base's rows), common (the rows that all have; only where the first tokens are the "
        "same) or tokenizer (aligned token by token)"
    )


def test_state_dicts_have_no_tokenizer_to_align_by() -> None:
    with pytest.raises(RecipeError, match="state dicts have no tokenizer; leave out"):
        merged(recipe("linear", "m0", "m1", embeddings="tokenizer"), [[1, 1], [2, 2]], [[3, 5]])


def test_no_policy_is_for_columns_or_for_other_matrices() -> None:
    asked = recipe("linear", "m0", "m1", embeddings="common")
    with pytest.raises(ShapeMismatch, match=rf"^{EMBED} is 1 x 3 in m1 but 1 x 2 in m0$"):
        merged(asked, [[1, 1]], [[3, 5, 7]])
    with pytest.raises(ShapeMismatch, match=rf"^{QUERY} is 3 x 2 in m1 but 2 x 2 in m0$"):
        merged(asked, [[1, 1]], [[3, 5]], queries=[torch.ones(2, 2), torch.ones(3, 2)])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """a has 32 rows, b 40."""
    worded(tmp_path / "a", 1, words(32))
    worded(tmp_path / "b", 2, words(32), rows=40)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (linear("a", "b", embeddings="base"), 32),
        (linear("b", "a", embeddings="base"), 40),
        (linear("a", "b", embeddings="base", base_model="b"), 40),
        (linear("b", "a", embeddings="common"), 32),
        (added("b", "a", embeddings="base"), 40),
        (added("b", "a", embeddings="common"), 32),
    ],
)
def test_the_config_has_the_rows_that_are_written(
    models: Path, monkeypatch: pytest.MonkeyPatch, text: str, rows: int
) -> None:
    monkeypatch.chdir(models)
    (models / "recipe.yaml").write_text(text)
    run_merge(Path("recipe.yaml"), Path("out"))
    out = tensors_of(models / "out")
    assert [out[name].shape[0] for name in EMBEDDINGS] == [rows, rows]
    assert json.loads((models / "out" / "config.json").read_text())["vocab_size"] == rows
    if rows == 40:
        b = tensors_of(models / "b")
        assert all(torch.equal(out[name][32:], b[name][32:]) for name in EMBEDDINGS)


def test_tied_embeddings_fall_back_on_their_partner() -> None:
    """The head of a tied model is its embeddings."""
    head = next(iter(TIED))
    tied = {EMBED: torch.tensor([[4.0, 4.0]])}
    untied = {EMBED: torch.ones(2, 2), head: torch.zeros(2, 2)}
    half = parse_recipe(added("untied", "tied", embeddings="base"))
    out, _ = merge_state_dicts(half, {"untied": untied, "tied": tied})
    assert_rows(out[EMBED], [[2.5, 2.5], [1, 1]])
    assert_rows(out[head], [[2, 2], [0, 0]])


def test_positions_are_no_vocabulary() -> None:
    """GPT-2 has a table of positions beside that of tokens: of the model with fewer, nothing is
    cut off the other without a word."""
    models = {
        f"m{i}": {"transformer.wte.weight": torch.ones(6, 2), "transformer.wpe.weight": positions}
        for i, positions in enumerate((torch.ones(4, 2), torch.ones(3, 2)))
    }
    with pytest.raises(ShapeMismatch, match=r"^transformer.wpe.weight is 3 x 2 in m1 but 4 x 2"):
        merge_state_dicts(parse_recipe(linear("m0", "m1", embeddings="common")), models)


def test_the_bias_of_an_output_layer_has_its_rows() -> None:
    """As in Phi-2, whose vocabulary has an entry of `lm_head.bias` each."""
    models = {
        f"m{i}": {EMBED: torch.ones(rows, 2), "lm_head.weight": torch.ones(rows, 2),
                  "lm_head.bias": torch.full((rows,), float(i))}
        for i, rows in enumerate((5, 4))
    }  # fmt: skip
    out, _ = merge_state_dicts(parse_recipe(linear("m0", "m1", embeddings="common")), models)
    assert out["lm_head.weight"].shape == (4, 2)
    assert torch.equal(out["lm_head.bias"], torch.full((4,), 0.5))
