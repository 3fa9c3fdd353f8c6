"""What holds for every merge method."""

import pytest
import torch
from fine_tunes import family, held
from method_settings import SETTINGS, Setting
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods import METHODS
from weightlens.merge.streaming import CHUNK, Held, Key

KEY = Key(3, "model.layers.0.mlp.down_proj.weight")

every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)


def in_blocks(setting: Setting, tensor: Held, *sizes: int) -> list[Tensor]:
    """The bits of the merge, combined in blocks of about so many entries."""
    method = setting.method
    gathered = method.gather(tensor)
    width = method.width(tensor.shape)
    merges = [
        torch.cat([method.combine(block, gathered) for block in tensor.blocks(width, size=size)])
        for size in sizes
    ]
    # as integers: 0 and −0 are not the same bytes
    return [merge.view(torch.int32) for merge in merges]


def streamed(setting: Setting, shape: tuple[int, ...]) -> Held:
    return held(setting.method, *setting.inputs(family(shape)), KEY)


def test_every_method_has_a_setting() -> None:
    assert {setting.name for setting in SETTINGS} == set(METHODS)


@every_setting
def test_one_entry_or_row_at_a_time_gives_the_same_bits(setting: Setting) -> None:
    for shape in ((7, 31), (37, 5), (5, 1), (113,), (3, 5, 13)):
        at_once, *others = in_blocks(setting, streamed(setting, shape), CHUNK, 1, shape[-1] + 1)
        assert all(torch.equal(other, at_once) for other in others), shape


@every_setting
def test_block_sizes_do_not_show(setting: Setting) -> None:
    tensor = streamed(setting, (61, 1001))
    at_once, *others = in_blocks(setting, tensor, CHUNK, 777, 1001, 10**6)
    assert all(torch.equal(other, at_once) for other in others)


@every_setting
def test_block_sizes_do_not_show_in_a_tensor_of_more_than_a_chunk(setting: Setting) -> None:
    tensor = streamed(setting, (1101, 1001))
    assert tensor.entries > CHUNK
    at_once, *others = in_blocks(setting, tensor, CHUNK, 10**6, 177_777)
    assert all(torch.equal(other, at_once) for other in others)


# The engine gives every worker one thread. At this size two make no difference either, but torch
# promises nothing of the kind: its sums over a block may be split among threads.
@every_setting
def test_two_threads_give_the_same_bits_here(setting: Setting) -> None:
    tensor = streamed(setting, (200, 301))
    (one,) = in_blocks(setting, tensor, CHUNK)
    torch.set_num_threads(2)
    try:
        (two,) = in_blocks(setting, tensor, CHUNK)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(one, two)


@every_setting
def test_any_shape_is_kept_and_every_entry_is_a_number(setting: Setting) -> None:
    for shape in ((), (1,), (1, 1), (9,), (4, 6), (2, 3, 5), (0,), (0, 4), (4, 0), (2, 0, 3)):
        result = merged(setting.method, *setting.inputs(family(shape)))
        assert result.shape == shape and result.dtype == torch.float32
        assert bool(result.isfinite().all()), shape


@every_setting
def test_a_tensor_without_changes_stays_finite(setting: Setting) -> None:
    of = family((6, 8), size=0.0)
    sources, base = setting.inputs(of)
    result = merged(setting.method, sources, base)
    assert bool(result.isfinite().all())
    if base is not None:
        assert torch.allclose(result, base, rtol=1e-6, atol=0)


@every_setting
def test_tensors_of_zeros_merge_to_zeros(setting: Setting) -> None:
    zero = torch.zeros(4, 6)
    sources, base = setting.inputs(family((4, 6)))
    result = merged(setting.method, [zero for _ in sources], None if base is None else zero)
    assert torch.equal(result, zero)


@every_setting
def test_sources_and_base_are_left_as_they_were(setting: Setting) -> None:
    of, before = family((11, 7)), family((11, 7))
    merged(setting.method, *setting.inputs(of))
    assert torch.equal(of.base, before.base)
    assert all(map(torch.equal, of.tuned, before.tuned))
