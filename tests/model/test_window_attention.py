"""Attention by batched products: what torch's own gives, forwards and backwards."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from claip_emo.model import attention
from claip_emo.model.attention import attend

SHAPES = {"frames": (5, 3, 50, 16), "windows": (6, 2, 64, 24), "one token": (4, 3, 1, 8)}


def heads(batch: int, count: int, tokens: int, part: int) -> torch.Tensor:
    """Random heads that lie in memory as projections leave them, of bfloat16's own numbers."""
    rows = torch.randn(batch, tokens, count * part).bfloat16()
    return rows.unflatten(-1, (count, part)).transpose(1, 2)


def expected(query, key, value, bias):
    mixed = functional.scaled_dot_product_attention(query, key, value, bias)
    return mixed.transpose(1, 2).flatten(2)


def with_gradients(parts, bias, call, by) -> list[torch.Tensor]:
    leaves = [part.detach().clone().requires_grad_() for part in parts]
    mixed = call(*leaves, bias)
    mixed.backward(by.to(mixed.dtype))
    return [mixed.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_bfloat16_gives_what_float64_does_forwards_and_backwards(
    shape, biased, monkeypatch
) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda device: True)  # emulated, where it is not
    torch.manual_seed(0)
    batch, count, tokens, part = shape
    query = heads(*shape)
    key, value = (heads(batch, count, 50 if tokens == 1 else tokens, part) for _ in range(2))
    bias = torch.randn(count, tokens, key.shape[2]).bfloat16().float() if biased else None
    by = torch.randn(batch, tokens, count * part).bfloat16()
    found = with_gradients((query, key, value), bias, attend, by)
    exact = with_gradients(
        [each.double() for each in (query, key, value)],
        None if bias is None else bias.double(),
        expected,
        by,
    )
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_what_the_products_do_not_do_is_left_to_torch(monkeypatch) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda device: True)
    monkeypatch.setattr(attention._Attention, "apply", None)  # fails where it is called
    parts = [heads(2, 2, 4, 8) for _ in range(3)]
    positions = torch.randn(2, 4, 4, requires_grad=True)
    attend(*parts, positions).sum().backward()
    assert positions.grad is not None
    attend(*(part.float() for part in parts))
    torch.manual_seed(0)
    dropped = attend(*parts, dropout=0.5)
    assert not torch.equal(dropped, attend(*parts, dropout=0.5))


def test_without_the_instructions_bfloat16_is_left_to_torch(monkeypatch) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda device: False)
    monkeypatch.setattr(attention._Attention, "apply", None)
    parts = [heads(2, 2, 4, 8) for _ in range(3)]
    assert torch.equal(attend(*parts), expected(*parts, None))


def test_number_types_are_those_of_what_comes_in_whatever_autocast_is_on(monkeypatch) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda device: True)
    parts = [heads(2, 2, 4, 8).requires_grad_() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        inside = with_gradients(parts, None, attend, torch.ones(2, 4, 16))
    outside = with_gradients(parts, None, attend, torch.ones(2, 4, 16))
    for one, other in zip(inside, outside, strict=True):
        assert one.dtype == torch.bfloat16
        assert torch.equal(one, other)


class Called(TorchDispatchMode):
    """Notes which operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("biased", [False, True])
def test_float32_goes_through_the_fused_kernel(biased) -> None:
    parts = [heads(2, 2, 4, 8).float() for _ in range(3)]
    with Called() as called:
        attend(*parts, torch.randn(2, 4, 4) if biased else None)
    assert "_scaled_dot_product_flash_attention_for_cpu" in called.names
