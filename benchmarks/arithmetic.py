"""How many operations a function computes, and how many bytes its operators read and write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


@dataclass(frozen=True, slots=True)
class Work:
    """What a function costs on paper.

    Attributes:
        flop: multiplications and additions of products of matrices, convolutions and attention.
        elements: numbers that all operators write, which is about what the rest computes.
        bytes: read and written by all operators, as if nothing stayed in a cache.
    """

    flop: int
    elements: int
    bytes: int


def count(run: Callable[[], Any]) -> Work:
    """Run a function once, in inference mode, and count."""
    with (
        torch.inference_mode(),
        FlopCounterMode(display=False, custom_mapping=_not_counted_by_torch()) as products,
        _Traffic() as traffic,
    ):
        run()
    return Work(products.get_total_flops(), traffic.elements, traffic.bytes)


class _Traffic(TorchDispatchMode):
    """Adds up what each operator reads and writes; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            written = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in [*read, *written])
            self.elements += sum(t.numel() for t in written)
        return result


def _not_counted_by_torch() -> dict[Any, Any]:
    """Return how to count the CPU's attention and oneDNN's product, which torch passes over."""
    counted = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        counted[torch.ops.mkldnn._linear_pointwise] = _linear
    return counted


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _linear(inputs: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    rows = 1
    for side in inputs[:-1]:
        rows *= side
    return 2 * rows * inputs[-1] * out_shape[-1]
