"""How a step is computed: number format, compiled towers, the optimiser's kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from claip_emo.evaluation.processes import is_first
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision

logger = logging.getLogger(__name__)

PRECISION = "precision.txt"
COMPILED = ("encode_frames", "encode_audio")  # what runs the towers
FUSED = {"cpu", "cuda"}
"""Where AdamW has one kernel for a whole step: six times as fast as a loop over parameters."""


def adamw(groups: Sequence[dict[str, Any]], learning_rate: float) -> torch.optim.AdamW:
    """Return AdamW for groups of parameters, in one kernel where the device has it."""
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True if devices <= FUSED else None)


def compile_towers(model: ClaipEmoModel, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile what runs the towers, in place.

    The rest of the forward pass asks which samples have a modality, which no graph can hold.
    """
    for name in COMPILED:
        setattr(model, name, torch.compile(getattr(model, name), backend=backend))


@contextmanager
def scoring(model: ClaipEmoModel, precision: Precision) -> Iterator[None]:
    """Score with packed towers, in the precision that is told, however they are trained.

    What is compiled waits meanwhile: it would be compiled again for each new set of packed weights.
    """
    compiled = {name: vars(model).pop(name) for name in COMPILED if name in vars(model)}
    try:
        with model.packed(precision):
            yield
    finally:
        vars(model).update(compiled)


def keep_precision(state_dir: Path, precision: str) -> None:
    """Write down a run's precision; warn where it goes on in another one than it began with."""
    path = state_dir / PRECISION
    former = path.read_text("utf-8").strip() if path.is_file() else precision
    if former != precision:
        logger.warning(
            "This run was trained in %s so far and goes on in %s, which is the faster one here; "
            "it will not equal an uninterrupted one bit for bit.",
            former,
            precision,
        )
    if is_first():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(precision + "\n", "utf-8")
