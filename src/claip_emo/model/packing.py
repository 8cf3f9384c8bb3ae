"""Weights laid out for prediction: LoRA folded in, in float32, bfloat16 or 8-bit integers."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from claip_emo.model.precision import Precision

ADAPTER = "default"  # the name peft gives to a model's only adapter
INT8_MOST = 127
INT8_ENGINE = "onednn"  # on a processor without VNNI torch would take FBGEMM, which is slower
_engine_lock = threading.Lock()


def has_adapter(module: nn.Module) -> bool:
    """Say whether LoRA lies beside a layer: none does where peft was never imported."""
    peft = sys.modules.get("peft.tuners.lora")
    return peft is not None and isinstance(module, peft.LoraLayer)


def effective(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a linear layer, an adapter that is not merged folded in.

    Args:
        module: a linear layer, plain or with LoRA beside it; it is left as it is.

    Returns:
        (out, in) and (out,), detached, float32.
    """
    if not has_adapter(module):
        bias = module.bias
        return module.weight.detach().float(), None if bias is None else bias.detach().float()
    weight, bias = effective(module.get_base_layer())
    if not module.merged:
        weight = weight + module.get_delta_weight(ADAPTER).detach().float()
    return weight, bias


def stacked(modules: Sequence[nn.Module]) -> tuple[Tensor, Tensor | None]:
    """Return several linear layers of one input as one: weights (sum of outs, in), biases."""
    weights, biases = zip(*(effective(module) for module in modules), strict=True)
    if all(bias is None for bias in biases):
        return torch.cat(weights), None
    filled = [
        weight.new_zeros(len(weight)) if bias is None else bias
        for weight, bias in zip(weights, biases, strict=True)
    ]
    return torch.cat(weights), torch.cat(filled)


class Packed(nn.Module):
    """Weights laid out for prediction.

    They keep their number types, whatever a model is cast to, and give no gradients.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Packed:
        """Move the weights as ``to``, ``cuda``, ``float`` and the like say.

        Raises:
            ValueError: for weights that are packed for the CPU, on the way to another device.
        """
        leaves = fn(torch.empty(0)).device.type != "cpu"
        if leaves and any(isinstance(m, PackedLinear) and m.on_cpu_only for m in self.modules()):
            raise ValueError(
                "These weights were packed for the CPU and stay there; move the model to its "
                "device first, and merge it then."
            )

        def moved(tensor: Tensor) -> Tensor:
            found = fn(tensor)
            return found if found.dtype == tensor.dtype else tensor.to(found.device)

        return super()._apply(moved, recurse)


def refuse_gradients(inputs: Tensor) -> None:
    """Refuse inputs that wait for gradients, of which packed weights give none.

    Raises:
        ValueError: saying what does.
    """
    if inputs.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "A merged or packed model gives its inputs no gradients: compute them before merge() "
            "and outside packed(), or predict under torch.inference_mode()."
        )


class PackedLinear(Packed):
    """A linear layer for prediction only.

    - ``fp32``: as it is.
    - ``bf16``: weights in bfloat16; on the CPU in the blocked order of oneDNN, which would else
      reorder them in every call.
    - ``int8``: weights as 8-bit integers with a scale per output, activations as 8-bit integers
      with a scale per call; on the CPU only.

    The input may be float32 or bfloat16; the output is bfloat16 where the precision is, else
    float32.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        precision: of the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, precision: Precision = "fp32"):
        """Lay out the weights.

        Raises:
            ValueError: for int8 on another device than the CPU.
        """
        super().__init__()
        self.precision = precision
        self.blocked = False
        if precision == "int8":
            if weight.device.type != "cpu":
                raise ValueError(
                    "int8 is for the CPU only; choose --precision bf16 or fp32, or --device cpu."
                )
            self._int8 = _quantised(weight, bias)
            return
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        weight = weight.to(dtype).contiguous()
        self.register_buffer("bias", None if bias is None else bias.to(dtype).contiguous())
        if precision == "bf16" and weight.device.type == "cpu" and blocks_bf16():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)  # stays on the CPU
            self.blocked = True
        else:
            self.register_buffer("weight", weight)

    @property
    def on_cpu_only(self) -> bool:
        """Whether the weights lie as only kernels of the CPU read them."""
        return self.blocked or self.precision == "int8"

    def forward(self, inputs: Tensor) -> Tensor:
        """Return inputs (..., in) times the weights plus the bias, (..., out)."""
        if self.precision == "int8":
            return torch.ops.quantized.linear_dynamic(inputs.float(), self._int8, not has_vnni())
        inputs = inputs.to(torch.bfloat16 if self.precision == "bf16" else torch.float32)
        if self.blocked:
            return torch.ops.mkldnn._linear_pointwise(
                inputs, self.weight, self.bias, "none", [], ""
            )
        return functional.linear(inputs, self.weight, self.bias)


def _quantised(weight: Tensor, bias: Tensor | None) -> torch.ScriptObject:
    scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / INT8_MOST
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():  # the only door to this kernel; to be moved when torch moves it
        warnings.simplefilter("ignore")
        as_int8 = torch.quantize_per_channel(weight.float(), scales, zeros, 0, torch.qint8)
    with _int8_engine():
        return torch.ops.quantized.linear_prepack(as_int8, None if bias is None else bias.float())


@contextmanager
def _int8_engine() -> Iterator[None]:
    """Let torch lay weights out for the engine that measures best, where it has it."""
    engines = torch.backends.quantized
    with _engine_lock:  # the choice is the whole process's
        former = engines.engine
        if INT8_ENGINE in engines.supported_engines:
            engines.engine = INT8_ENGINE
        try:
            yield
        finally:
            engines.engine = former


def has_vnni() -> bool:
    """Say whether the CPU adds products of 8-bit integers in 32 bits.

    Without it sums of two products saturate at 16 bits, so that activations get 7 bits.
    """
    return bool(torch.cpu._is_vnni_supported())


@cache
def blocks_bf16() -> bool:
    """Say whether oneDNN takes bfloat16 weights in its own order on this machine: it is tried."""
    square = torch.eye(32, dtype=torch.bfloat16)
    try:
        blocked = torch.ops.mkldnn._reorder_linear_weight(square)
        found = torch.ops.mkldnn._linear_pointwise(square, blocked, None, "none", [], "")
    except (AttributeError, RuntimeError):  # no oneDNN, or a CPU without the instructions
        return False
    return bool(torch.equal(found, square))
