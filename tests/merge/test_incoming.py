"""Blocks that come in from files: where a source has fewer rows, and where one holds NaN."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from weightlens.checkpoint.read import MemoryWeights
from weightlens.errors import NonFiniteTensor
from weightlens.merge.incoming import Incoming
from weightlens.merge.job import Job
from weightlens.merge.opening import hold_sources
from weightlens.merge.plan import make_plan
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

NAME = "model.embed_tokens.weight"
DELTAS = """
merge_method: task_arithmetic
base_model: base
models: [{model: a}, {model: b}]
parameters: {weight: 1}
embeddings: base
"""


def job(base: Tensor, a: Tensor, b: Tensor) -> Job:
    resolution = parse_recipe(DELTAS)
    models = {"base": {NAME: base}, "a": {NAME: a}, "b": {NAME: b}}
    (found,) = make_plan(resolution, hold_sources(resolution, models)).jobs
    return found


def rows(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def lists(blocks: Sequence[Tensor]) -> list[list[float]]:
    return [block.tolist() for block in blocks]


# the base is 1 2 3 4; a lacks the last two rows, b has one too many: a - base = 4 4 0 0
def test_rows_that_a_source_lacks_are_the_bases() -> None:
    given = job(rows(1, 2, 3, 4), rows(5, 6), rows(1, 2, 3, 5, 9))
    for start, stop in ((0, 4), (1, 3), (0, 2), (2, 4), (0, 4)):
        with Incoming(given, seed=0) as tensor:
            block = tensor.block(start, stop)
        assert block.base is not None
        assert block.base.tolist() == [1.0, 2.0, 3.0, 4.0][start:stop]
        expected = [[4.0, 4.0, 0.0, 0.0][start:stop], [0.0, 0.0, 0.0, 1.0][start:stop]]
        assert lists(block.sources) == expected


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("which", ["base", "a", "b"])
def test_a_number_that_is_none_is_found_in_the_source_that_holds_it(
    which: str, at: int, number: float
) -> None:
    models = {name: rows(1, 2, 3, 4) for name in ("base", "a", "b")}
    models[which][at] = number
    said = rf"{which}: {NAME} holds {'NaN' if math.isnan(number) else 'Inf'}"
    with pytest.raises(NonFiniteTensor, match=said):
        merge_state_dicts(parse_recipe(DELTAS), {n: {NAME: t} for n, t in models.items()})


def test_numbers_whose_sum_is_beyond_float32_are_numbers() -> None:
    large = torch.full((4, 1), 3e38)
    assert MemoryWeights({NAME: large}, "held").read(NAME) is not None
    with Incoming(job(large, large, large), seed=0) as tensor:
        block = tensor.block(0, 4)
    assert lists(block.sources) == [[0.0] * 4] * 2
