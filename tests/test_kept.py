"""Zeros and what is taken are the same on every path: bit by bit, by choice, in blocks, in any
memory format.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import purethin as pt
from purethin import axes as ax

MASKS = {"a": torch.arange(300) % 3 != 1, "b": torch.arange(70) % 4 > 0}
SHAPES = {
    "a b": (300, 70),
    "a b 3 3": (300, 70, 3, 3),
    "b 3 a": (70, 3, 300),
    "5 a": (5, 300),
    "a": (300,),
    "b 2": (70, 2),
    "a (b + 1) 7": (300, 71, 7),
    "a b 5 9": (300, 70, 5, 9),  # so large that it is done in blocks
    "25 a b": (25, 300, 70),
}


def whole(text: str) -> tuple[pt.Spec, Tensor]:
    tensor = torch.randn(SHAPES[text])
    tensor.flatten()[::7] = torch.inf
    tensor.flatten()[::11] = torch.nan
    layout = {"w": text, "a": "a", "b": "b"}
    params = {"w": tensor, "a": torch.ones(300), "b": torch.ones(70)}
    return pt.Spec.from_layout(layout, params), tensor


def alike(tensor: Tensor) -> dict[str, Tensor]:
    return {"w": tensor, "a": torch.ones(300), "b": torch.ones(70)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize("text", SHAPES)
def test_masking_bit_by_bit_is_masking_by_choice(text: str, dtype: torch.dtype) -> None:
    spec, tensor = whole(text)
    tensor = tensor.to(dtype)
    fast = pt.mask(alike(tensor), spec, MASKS)["w"]
    slow = pt.mask(alike(tensor.clone().requires_grad_()), spec, MASKS)["w"]
    assert slow.requires_grad
    torch.testing.assert_close(fast, slow.detach(), rtol=0, atol=0, equal_nan=True)
    assert fast.dtype == dtype
    assert fast.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize("text", SHAPES)
def test_what_is_taken_is_each_dims_selection(text: str) -> None:
    spec, tensor = whole(text)
    want = tensor
    for dim, expr in enumerate(spec.layout["w"]):
        if (keep := ax.keep(expr, MASKS, spec.sizes)) is not None:
            want = want.index_select(dim, keep.nonzero()[:, 0])
    for given in (tensor, tensor.transpose(0, -1).contiguous().transpose(0, -1)):
        thinned, _ = pt.thin(alike(given), spec, MASKS)
        torch.testing.assert_close(thinned["w"], want, rtol=0, atol=0, equal_nan=True)
        masked = pt.mask(alike(given), spec, MASKS)["w"]
        again = pt.mask(alike(tensor), spec, MASKS)["w"]
        torch.testing.assert_close(masked, again, rtol=0, atol=0, equal_nan=True)


def test_a_view_that_is_conjugate_or_negative_is_masked_as_its_values_are() -> None:
    spec, _ = whole("a b")
    values = torch.randn(300, 70, dtype=torch.complex64)
    for view in (values.conj(), values.conj().imag):
        masked = pt.mask(alike(view), spec, MASKS)["w"]
        assert torch.equal(masked, pt.mask(alike(view * 1), spec, MASKS)["w"])


def test_a_memory_format_stays_and_channels_last_is_masked_alike() -> None:
    spec, tensor = whole("a b 3 3")
    given = tensor.contiguous(memory_format=torch.channels_last)
    masked = pt.mask(alike(given), spec, MASKS)["w"]
    assert masked.is_contiguous(memory_format=torch.channels_last)
    plain = pt.mask(alike(tensor), spec, MASKS)["w"]
    torch.testing.assert_close(masked, plain, rtol=0, atol=0, equal_nan=True)


# torch's own, when forward mode is first used
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_a_tangent_goes_through_masking() -> None:
    spec, tensor = whole("a b")
    tensor = tensor.nan_to_num(0, 0, 0)

    def masked(w: Tensor) -> Tensor:
        return pt.mask(alike(w), spec, MASKS)["w"]

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(tensor, torch.ones_like(tensor))
        tangent = torch.autograd.forward_ad.unpack_dual(masked(dual)).tangent
    assert tangent is not None
    assert torch.equal(tangent, masked(torch.ones_like(tensor)))
    assert torch.equal(torch.func.vmap(masked)(tensor[None]), masked(tensor)[None])
