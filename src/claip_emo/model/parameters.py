"""How many parameters a model has, which of them are trained, and what lies between two states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

PARTS = ("lora_vision", "lora_audio", "vision", "audio", "temporal", "head")


def count_parameters(model: nn.Module) -> dict[str, Any]:
    """Count parameters: ``total``, ``trainable``, ``share``, and ``parts`` of the trainable."""
    parts = dict.fromkeys(PARTS, 0)
    total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            part = name.partition(".")[0].removesuffix("_tower")
            parts[f"lora_{part}" if ".lora_" in name else part] += parameter.numel()
    trainable = sum(parts.values())
    return {
        "total": total,
        "trainable": trainable,
        "share": trainable / total,
        "parts": {name: count for name, count in parts.items() if count},
    }


def between(
    start: Mapping[str, Tensor],
    trained: Mapping[str, Tensor],
    shares: float | Mapping[str, float],
) -> dict[str, Tensor]:
    """Return the weights on the way from the start's to the trained ones; counters are as trained.

    Args:
        start: weights by name, on any device.
        trained: of the same names.
        shares: of the way, of all or by part (``vision_tower``, ``head``, ...); parts that are not
            named go all of it.
    """
    found = dict(trained)
    for name, value in trained.items():
        share = shares if isinstance(shares, float) else shares.get(name.partition(".")[0], 1.0)
        if value.is_floating_point():
            found[name] = torch.lerp(start[name].to(value.device), value, share)
    return found
