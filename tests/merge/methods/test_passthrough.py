import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.method import merged
from weightlens.merge.methods.passthrough import Passthrough


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_the_tensor_comes_out_bit_for_bit(seed: int) -> None:
    source = family((3, 4), 1, seed=seed).base
    source[0, 0] = -0.0
    for method in (Passthrough(), Passthrough(scale=(None,)), Passthrough(scale=(1.0,))):
        assert torch.equal(merged(method, [source]).view(torch.int32), source.view(torch.int32))


# −1/2 of (2, −4)
def test_scale_multiplies() -> None:
    assert merged(Passthrough(scale=(-0.5,)), [vector(2, -4)]).tolist() == [-1, 2]
