"""Linear layers with LoRA beside frozen weights, in one step, keeping little for the backward pass.

peft owns the weights and their names; here is only the arithmetic. Against one peft layer after the
other: what is kept of a layer norm or an activation is its input alone, layers of one input share
one dropout mask, a mask costs two random bytes and not a float's worth of drawing, and the two
products of an adapter are added in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from claip_emo.model.packing import ADAPTER, has_adapter

QUICK_GELU = 1.702  # quick_gelu(x) = x * sigmoid(1.702 x), CLIP's own activation
DRAWS = 2**16  # a mask is drawn from 16 random bits per element


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """What stands before the layers: a layer norm whose weights are frozen."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, module: nn.LayerNorm) -> LayerNorm:
        """Take the weights of a module."""
        return cls(module.weight, module.bias, module.eps)

    @property
    def frozen(self) -> bool:
        """Whether nothing of it is trained."""
        return not (self.weight.requires_grad or self.bias.requires_grad)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalise the last axis."""
        return functional.layer_norm(inputs, self.weight.shape, self.weight, self.bias, self.eps)

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Return the gradient of the input."""
        shape = list(self.weight.shape)
        _, mean, spread = torch.native_layer_norm(inputs, shape, self.weight, self.bias, self.eps)
        found, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient.to(inputs.dtype), inputs, shape, mean, spread, self.weight, self.bias,
            [True, False, False],
        )  # fmt: skip
        return found


@dataclass(frozen=True, slots=True)
class Activation:
    """What stands before the layers: an activation, ``gelu`` or ``quick_gelu``."""

    name: str
    frozen = True

    def __call__(self, inputs: Tensor) -> Tensor:
        """Apply it to each element."""
        if self.name == "gelu":
            return functional.gelu(inputs)
        return functional.silu(inputs * QUICK_GELU, inplace=True).div_(QUICK_GELU)

    def backward(self, gradient: Tensor, inputs: Tensor) -> Tensor:
        """Return the gradient of the input."""
        if self.name == "gelu":
            return torch.ops.aten.gelu_backward(gradient.to(inputs.dtype), inputs)
        return torch.ops.aten.silu_backward(gradient.to(inputs.dtype), QUICK_GELU * inputs)


Before = LayerNorm | Activation


def project(
    inputs: Tensor, modules: Sequence[nn.Module], before: Before | None = None
) -> list[Tensor]:
    """Apply linear layers to one input, whose gradients reach adapters and input as usual.

    Args:
        inputs: (..., in).
        modules: linear layers of ``in`` inputs, plain or with LoRA.
        before: applied to the input first.

    Returns:
        One output (..., out) for each layer.
    """
    if (before is None or before.frozen) and all(_is_adapted(module) for module in modules):
        shape = inputs.shape
        rate, dtype = _dropout(modules[0]), working_dtype(inputs)
        scales = [module.scaling[ADAPTER] for module in modules]
        weights = [tensor for module in modules for tensor in _weights(module)]
        flat = inputs.reshape(-1, shape[-1])
        outputs = _Adapted.apply(flat, before, rate, dtype, scales, *weights)
        return [output.view(*shape[:-1], -1) for output in outputs]
    ready = inputs if before is None else before(inputs)
    return [module(ready) for module in modules]


def working_dtype(tensor: Tensor) -> torch.dtype:
    """Return the number type of products: autocast's, where it is on, else the tensor's own."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def _is_adapted(module: nn.Module) -> bool:
    """Say whether a layer is frozen and has an adapter that is neither merged nor switched off."""
    if not has_adapter(module) or module.merged or module.disable_adapters:
        return False
    base = module.get_base_layer()
    return list(module.lora_A) == [ADAPTER] and not base.weight.requires_grad


def _dropout(module: nn.Module) -> float:
    dropout = module.lora_dropout[ADAPTER]
    return dropout.p if module.training and isinstance(dropout, nn.Dropout) else 0.0


def _weights(module: nn.Module) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    base = module.get_base_layer()
    return base.weight, base.bias, module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight


class _Adapted(torch.autograd.Function):
    """Several y = x W^T + b + scale / (1 - p) (x where it is kept) A^T B^T of one x."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        before: Before | None,
        rate: float,
        dtype: torch.dtype,
        scales: Sequence[float],
        *weights: Tensor | None,
    ) -> tuple[Tensor, ...]:
        bases, biases, downs, ups = (weights[part::4] for part in range(4))
        ready = (inputs if before is None else before(inputs)).to(dtype)
        kept = drawn(ready, 1 - rate) if rate else None
        seen = ready if kept is None else ready * kept
        small = seen @ torch.cat([down.to(dtype) for down in downs]).t()  # (row, layers x rank)
        outputs = []
        for place, base in enumerate(bases):
            bias = biases[place]
            output = functional.linear(
                ready, base.to(dtype), None if bias is None else bias.to(dtype)
            )
            part = small.chunk(len(bases), dim=1)[place]
            output.addmm_(part, ups[place].to(dtype).t(), alpha=scales[place] / (1 - rate))
            outputs.append(output)
        ctx.before, ctx.rate, ctx.dtype, ctx.scales = before, rate, dtype, scales
        ctx.save_for_backward(inputs, kept, small, *weights)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Number types were settled going forwards, whatever autocast is on by now.
        with torch.autocast(gradients[0].device.type, enabled=False):
            return _Adapted._gradients(ctx, gradients)

    @staticmethod
    def _gradients(ctx: Any, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        inputs, kept, small, *weights = ctx.saved_tensors
        bases, _, downs, ups = (weights[part::4] for part in range(4))
        dtype, count = ctx.dtype, len(bases)
        scales = [scale / (1 - ctx.rate) for scale in ctx.scales]
        of_small, of_ups = [], []
        for place, gradient in enumerate(gradients):
            part = small.chunk(count, dim=1)[place]
            up = ups[place].to(dtype).t().contiguous()  # (rank, out): rows that lie together
            of_ups.append((part.t() @ gradient).mul_(scales[place]).t().to(ups[place].dtype))
            of_small.append((gradient @ up.t()).mul_(scales[place]))
        slim = torch.cat(of_small, dim=1)  # (row, layers x rank)
        seen = (inputs if ctx.before is None else ctx.before(inputs)).to(dtype)
        if kept is not None:
            seen = seen * kept
        of_downs = (slim.t() @ seen).to(downs[0].dtype).chunk(count)
        of_inputs = None
        if ctx.needs_input_grad[0]:
            found = slim @ torch.cat([down.to(dtype) for down in downs])
            if kept is not None:
                found *= kept
            for gradient, base in zip(gradients, bases, strict=True):
                found.addmm_(gradient, base.to(dtype))
            of_inputs = found if ctx.before is None else ctx.before.backward(found, inputs)
            of_inputs = of_inputs.to(inputs.dtype)
        of_weights = [
            gradient
            for down, up in zip(of_downs, of_ups, strict=True)
            for gradient in (None, None, down, up)
        ]
        return (of_inputs, None, None, None, None, *of_weights)


def drawn(like: Tensor, share: float) -> Tensor:
    """Draw a mask of a tensor's shape, seeded by torch's generator: 1 with a probability, else 0.

    The probability is met within 2^-17: an element is drawn from 16 bits. On the CPU they come from
    NumPy's fastest generator, which torch's one seeds, and the mask is of 8-bit integers, as torch
    multiplies by those thrice as fast as by truth values.
    """
    if like.device.type != "cpu":
        return torch.rand(like.shape, device=like.device) < share
    most = max(round(share * DRAWS), 1) - 1 - DRAWS // 2  # the largest int16 where all are kept
    return (_bits(like) <= most).view(torch.int8)


def _bits(like: Tensor) -> Tensor:
    """Draw 16 bits for each element of a tensor; a dry run's has only a shape."""
    if type(like) not in (Tensor, nn.Parameter):
        return like.new_empty(like.shape, dtype=torch.int16)
    seed = int(torch.randint(2**63 - 1, (), device="cpu"))
    words = np.random.SFC64(seed).random_raw(-(-like.numel() // 4))
    return torch.from_numpy(words.view(np.int16))[: like.numel()].view(like.shape)
