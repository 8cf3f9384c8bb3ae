"""Attention within frames and windows: few tokens, many at a time.

In bfloat16 on the CPU torch's fused kernel multiplies such small matrices at a twentieth of the
GEMM rate. Batched products around a softmax take two thirds of its time going forwards and a fifth
going backwards; scores are then rounded to bfloat16, as in transformers' own attention, and are
computed again in the backward pass instead of being kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from claip_emo.model.precision import has_bf16


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, dropout: float = 0.0
) -> Tensor:
    """Mix values by softmax(q k^T / sqrt(part) + bias) and join the heads.

    Args:
        query: (batch, head, token, part).
        key: (batch, head, other, part).
        value: (batch, head, other, part).
        bias: added to the scores, (head, token, other), of any number type; None: nothing is.
        dropout: share of the probabilities that are dropped.

    Returns:
        (batch, token, head * part).
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    by_hand = query.device.type == "cpu" and query.dtype == torch.bfloat16 and has_bf16("cpu")
    if not by_hand or dropout or (bias is not None and bias.requires_grad):
        added = None if bias is None else bias[None]  # of three axes torch's fast kernel takes none
        mixed = functional.scaled_dot_product_attention(query, key, value, added, dropout)
    else:
        mixed = _Attention.apply(query, key, value, bias)
    return mixed.transpose(1, 2).flatten(2)


class _Attention(torch.autograd.Function):
    """Batched products around a softmax; only what came in is kept."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(query, key, value, bias)
        shares = _shares(_flat(query), _flat(key), bias)
        return torch.bmm(shares, _flat(value)).view(query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _gradients(gradient, *ctx.saved_tensors)


def _gradients(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return the gradients of what came in, the last of them none."""
    scale = query.shape[-1] ** -0.5
    of_mixed, queries, keys, values = (_flat(part) for part in (gradient, query, key, value))
    shares = _shares(queries, keys, bias)
    of_value = torch.bmm(shares.transpose(1, 2), of_mixed)
    of_shares = torch.bmm(of_mixed, values.transpose(1, 2))
    of_scores = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
    of_query = torch.bmm(of_scores, keys).mul_(scale)
    of_key = torch.bmm(of_scores.transpose(1, 2), queries).mul_(scale)
    return of_query.view(query.shape), of_key.view(key.shape), of_value.view(value.shape), None


def _flat(heads: Tensor) -> Tensor:
    """Return (batch * head, token, part): rows that lie together."""
    return heads.reshape(-1, *heads.shape[2:])


def _shares(queries: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """Return what of each token goes into each: (batch * head, token, other)."""
    count, tokens, part = queries.shape
    shape = (count, tokens, keys.shape[1])
    if bias is None:
        added = queries.new_zeros(()).expand(shape)  # times nothing
    else:
        added = bias.expand(count // len(bias), *bias.shape).reshape(shape)
    beta = 0 if bias is None else 1
    scores = torch.baddbmm(added, queries, keys.transpose(1, 2), beta=beta, alpha=part**-0.5)
    return scores.softmax(-1)
