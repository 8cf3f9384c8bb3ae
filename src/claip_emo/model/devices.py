"""On which device the towers compute."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class DeviceError(ValueError):
    """A device that is not there, or that does not compute in a precision."""


def pick_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        DeviceError: if the device is unknown or not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available: Sequence[bool] = {
        "cpu": [True],
        "cuda": [torch.cuda.is_available()],
        "mps": [torch.backends.mps.is_available()],
    }.get(name.partition(":")[0], [])
    if not available:
        raise DeviceError(f"Unknown device {name!r}; it is auto, cpu, cuda or mps.")
    if not available[0]:
        raise DeviceError(f"There is no {name} device on this machine; use --device auto or cpu.")
    return torch.device(name)
