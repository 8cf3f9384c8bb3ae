"""bf16 as hardware computes it, at float32's speed, on a processor that lacks the instructions.

Products of bf16 numbers are exact in float32, so a product of matrices whose numbers are rounded to
bf16, summed in float32 and rounded once, is what AMX and AVX-512 compute, but for the order of the
sum. An emulated bf16 product takes ten times as long.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from claip_emo.model import packing
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.packing import PackedLinear


class RoundedLinear(nn.Module):
    """A linear layer with weights in bf16 that multiplies in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        """Keep weights (out, in) and bias (out,), both bfloat16, in float32."""
        super().__init__()
        self.weight = weight.float()
        self.bias = None if bias is None else bias.float()

    @classmethod
    def of(cls, layer: PackedLinear) -> Self:
        """Take the weights of a layer that was packed in bf16 and not blocked."""
        if layer.precision != "bf16" or layer.blocked:
            raise ValueError("Only plain bf16 weights can be read; pack them with in_bf16().")
        return cls(layer.weight, layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (..., in) times the weights plus the bias, (..., out), bfloat16."""
        return functional.linear(inputs.bfloat16().float(), self.weight, self.bias).bfloat16()


def in_bf16(model: ClaipEmoModel) -> ClaipEmoModel:
    """Return a copy of a model, merged in bf16, whose products are computed in float32."""
    kept, packing.blocks_bf16 = packing.blocks_bf16, lambda: False
    try:
        merged = copy.deepcopy(model).merge("bf16")
    finally:
        packing.blocks_bf16 = kept
    with torch.no_grad():
        for parent in list(merged.modules()):
            for name, layer in list(parent.named_children()):
                if isinstance(layer, PackedLinear) and layer.precision == "bf16":
                    setattr(parent, name, RoundedLinear.of(layer))
    return merged
