"""The learning rate of every step, and which parameters decay."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn

NO_DECAY = ("bias", "norm", "cls_token", "position_embedding")
"""Parts of names whose parameters keep their size: they are no matrices that mix features."""


def learning_rates(
    *, peak: float, final: float, epochs: int, steps_per_epoch: int, warmup_epochs: float
) -> list[float]:
    """Return the rate of each step: linear warm-up from 0, then half a cosine.

    Equals the released code's schedule: the warm-up reaches the peak in its last step, and the
    cosine starts there.
    """
    total = epochs * steps_per_epoch
    warmup = min(round(warmup_epochs * steps_per_epoch), total)
    rates = [peak * step / max(1, warmup - 1) for step in range(warmup)]
    left = total - warmup
    rates += [
        final + 0.5 * (peak - final) * (1 + math.cos(math.pi * step / left)) for step in range(left)
    ]
    return rates


def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, object]]:
    """Divide the trainable parameters into those that decay and those that do not."""
    decayed, kept = [], []
    for name, parameter in named_parameters:
        if parameter.requires_grad:
            flat = parameter.ndim < 2 or any(part in name for part in NO_DECAY)
            (kept if flat else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
