"""RandAugment on the device: the same few operations on every frame of a clip.

The operations and ranges are those of timm's ``rand-m7-n4-mstd0.5-inc1``, which the paper's
released code uses (its "increasing" variants: a higher magnitude always changes more). Frames are
(time, 3, height, width), float32 in [0, 1], RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

APPLY_PROBABILITY = 0.5  # timm: each chosen operation is applied with this probability
MAGNITUDE_STD = 0.5  # mstd0.5
HIGHEST = 10.0
FILL = 0.5  # what comes in from outside the frame

GREY = (0.299, 0.587, 0.114)
Operation = Callable[[Tensor, float], Tensor]


def randaugment(
    frames: Tensor, *, layers: int, magnitude: float, rng: np.random.Generator
) -> Tensor:
    """Apply ``layers`` random operations to a clip, each with probability 0.5.

    Args:
        frames: (time, 3, height, width), float32 in [0, 1].
        layers: number of operations drawn.
        magnitude: mean strength, 0 to 10; the deviation is 0.5.
        rng: generator of every draw.

    Returns:
        Frames of the same shape, in [0, 1].
    """
    names = list(OPERATIONS)
    for _ in range(layers):
        name = names[rng.integers(len(names))]
        applied, positive = rng.random(2) < (APPLY_PROBABILITY, 0.5)
        strength = float(np.clip(rng.normal(magnitude, MAGNITUDE_STD), 0, HIGHEST)) / HIGHEST
        if applied:
            frames = OPERATIONS[name](frames, strength if positive else -strength).clamp(0, 1)
    return frames


def autocontrast(frames: Tensor, _: float) -> Tensor:
    """Stretch each channel of each frame to the full range."""
    low = frames.amin(dim=(-2, -1), keepdim=True)
    spread = frames.amax(dim=(-2, -1), keepdim=True) - low
    return torch.where(spread > 0, (frames - low) / spread.clamp(min=1e-6), frames)


def equalize(frames: Tensor, _: float) -> Tensor:
    """Flatten the histogram of each channel of each frame, as Pillow does."""
    levels = (frames * 255).round().long().flatten(0, 1).flatten(1)  # (T * 3, H * W)
    counts = torch.zeros(len(levels), 256, dtype=torch.long, device=frames.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    highest = 255 - counts.flip(1).gt(0).int().argmax(dim=1, keepdim=True)
    step = (counts.sum(1, keepdim=True) - counts.gather(1, highest)) // 255  # (T * 3, 1)
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=frames.device))
    return (table.gather(1, levels).float() / 255).view_as(frames)


def invert(frames: Tensor, _: float) -> Tensor:
    """Turn light into dark."""
    return 1 - frames


def posterize(frames: Tensor, strength: float) -> Tensor:
    """Keep 4 bits (weak) down to 0 (strong) of each channel."""
    dropped = 8 - (4 - int(abs(strength) * 4))
    levels = (frames * 255).round().int()
    return (torch.bitwise_left_shift(torch.bitwise_right_shift(levels, dropped), dropped)) / 255


def solarize(frames: Tensor, strength: float) -> Tensor:
    """Invert what is brighter than a threshold, which falls as the strength grows."""
    return torch.where(frames < 1 - abs(strength), frames, 1 - frames)


def solarize_add(frames: Tensor, strength: float) -> Tensor:
    """Brighten what is darker than the middle, by up to 110 of 255."""
    return torch.where(frames < 0.5, frames + abs(strength) * 110 / 255, frames)


def color(frames: Tensor, strength: float) -> Tensor:
    """Blend with the grey picture, or away from it."""
    return _blend(_grey(frames), frames, strength)


def contrast(frames: Tensor, strength: float) -> Tensor:
    """Blend with the mean grey of each frame, or away from it."""
    return _blend(_grey(frames).mean(dim=(-3, -2, -1), keepdim=True), frames, strength)


def brightness(frames: Tensor, strength: float) -> Tensor:
    """Blend with black, or away from it."""
    return _blend(torch.zeros_like(frames), frames, strength)


def sharpness(frames: Tensor, strength: float) -> Tensor:
    """Blend with a 3 x 3 smoothing of the frame (borders kept), or away from it."""
    kernel = frames.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = frames.clone()
    inner = functional.conv2d(frames, kernel.expand(3, 1, 3, 3), groups=3)
    smooth[..., 1:-1, 1:-1] = inner
    return _blend(smooth, frames, strength)


def rotate(frames: Tensor, strength: float) -> Tensor:
    """Turn by up to 30 degrees."""
    cos, sin = math.cos(strength * math.pi / 6), math.sin(strength * math.pi / 6)
    return _affine(frames, [[cos, -sin, 0.0], [sin, cos, 0.0]])


def shear_x(frames: Tensor, strength: float) -> Tensor:
    """Shear sideways by up to 0.3."""
    return _affine(frames, [[1.0, 0.3 * strength, 0.0], [0.0, 1.0, 0.0]])


def shear_y(frames: Tensor, strength: float) -> Tensor:
    """Shear upwards by up to 0.3."""
    return _affine(frames, [[1.0, 0.0, 0.0], [0.3 * strength, 1.0, 0.0]])


def translate_x(frames: Tensor, strength: float) -> Tensor:
    """Shift sideways by up to 45 % of the width."""
    return _affine(frames, [[1.0, 0.0, 0.9 * strength], [0.0, 1.0, 0.0]])


def translate_y(frames: Tensor, strength: float) -> Tensor:
    """Shift up or down by up to 45 % of the height."""
    return _affine(frames, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.9 * strength]])


OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        autocontrast,
        equalize,
        invert,
        rotate,
        posterize,
        solarize,
        solarize_add,
        color,
        contrast,
        brightness,
        sharpness,
        shear_x,
        shear_y,
        translate_x,
        translate_y,
    )
}


def _grey(frames: Tensor) -> Tensor:
    return (frames * frames.new_tensor(GREY).view(3, 1, 1)).sum(dim=-3, keepdim=True)


def _blend(other: Tensor, frames: Tensor, strength: float) -> Tensor:
    """Go from ``other`` through the frames beyond: factor 1 + 0.9 x strength."""
    return other + (frames - other) * (1 + 0.9 * strength)


def _affine(frames: Tensor, matrix: list[list[float]]) -> Tensor:
    """Warp all frames by one 2 x 3 matrix on coordinates in [-1, 1]."""
    theta = frames.new_tensor(matrix).expand(len(frames), 2, 3)
    grid = functional.affine_grid(theta, list(frames.shape), align_corners=False)
    return functional.grid_sample(frames - FILL, grid, align_corners=False) + FILL
