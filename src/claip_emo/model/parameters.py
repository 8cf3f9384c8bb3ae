"""How many parameters a model has, and which of them are trained."""

from __future__ import annotations

from typing import Any

from torch import nn

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
