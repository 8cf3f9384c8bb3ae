"""In which number format the towers compute."""

from __future__ import annotations

from typing import Literal

import torch

from claip_emo.model.description import Described
from claip_emo.model.devices import DeviceError

Precision = Literal["fp32", "bf16", "int8"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]

TRANSFORMERS = ("clip_vision_model", "clap_audio_model")
"""Architectures that bfloat16 makes faster; convolutions of few channels it makes slower."""


def has_bf16(device: torch.device | str) -> bool:
    """Say whether a device multiplies bfloat16 matrices in hardware."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def best_precision(device: torch.device | str, config: Described) -> Literal["fp32", "bf16"]:
    """Return the faster of float32 and bfloat16 for the towers of a model on a device."""
    towers = [
        tower.model_type
        for tower, read in (
            (config.vision_config, config.reads_video),
            (config.audio_config, config.reads_audio),
        )
        if read
    ]
    return "bf16" if has_bf16(device) and set(towers) <= set(TRANSFORMERS) else "fp32"


def resolve_precision(
    choice: PrecisionChoice, device: torch.device | str, config: Described
) -> Precision:
    """Return the precision of a choice; ``auto`` is the faster of float32 and bfloat16.

    Raises:
        ValueError: for an unknown choice.
        DeviceError: for int8 on another device than the CPU.
    """
    if choice == "auto":
        return best_precision(device, config)
    if choice not in ("fp32", "bf16", "int8"):
        raise ValueError(f"Unknown precision {choice!r}; it is auto, fp32, bf16 or int8.")
    if choice == "int8" and torch.device(device).type != "cpu":
        raise DeviceError("int8 is for the CPU only; choose bf16 or fp32, or --device cpu.")
    return choice
