"""Training augmentation as the released way has it: Pillow, frame by frame.

RandAugment draws its operations once per clip and applies them to each frame (timm's
``rand-m7-n4-mstd0.5-inc1``, which the released code uses).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from claip_emo.data.augment import ERASED_AREA, ERASED_RATIO
from claip_emo.data.randaugment import APPLY_PROBABILITY, HIGHEST, MAGNITUDE_STD
from claip_emo.recipe import AugmentRecipe

GREY = (128, 128, 128)  # what comes in from outside the frame
CROP_RATIO = (3 / 4, 4 / 3)

Picture = Image.Image


def _enhance(
    kind: Callable[[Picture], ImageEnhance._Enhance],
) -> Callable[[Picture, float], Picture]:
    return lambda picture, strength: kind(picture).enhance(1 + 0.9 * strength)


def _warp(matrix: Callable[[float, int], tuple[float, ...]]) -> Callable[[Picture, float], Picture]:
    def warp(picture: Picture, strength: float) -> Picture:
        return picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            matrix(strength, picture.width),
            resample=Image.Resampling.BILINEAR,
            fillcolor=GREY,
        )

    return warp


OPERATIONS: tuple[Callable[[Picture, float], Picture], ...] = (
    lambda picture, _: ImageOps.autocontrast(picture),
    lambda picture, _: ImageOps.equalize(picture),
    lambda picture, _: ImageOps.invert(picture),
    lambda picture, s: picture.rotate(30 * s, Image.Resampling.BILINEAR, fillcolor=GREY),
    lambda picture, s: ImageOps.posterize(picture, max(4 - int(abs(s) * 4), 1)),
    lambda picture, s: ImageOps.solarize(picture, round(256 * (1 - abs(s)))),
    lambda picture, s: picture.point(
        [v + round(abs(s) * 110) if v < 128 else v for v in range(256)] * 3
    ),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    _warp(lambda s, _: (1, 0.3 * s, 0, 0, 1, 0)),
    _warp(lambda s, _: (1, 0, 0, 0.3 * s, 1, 0)),
    _warp(lambda s, size: (1, 0, 0.45 * s * size, 0, 1, 0)),
    _warp(lambda s, size: (1, 0, 0, 0, 1, 0.45 * s * size)),
)


def augment(
    frames: list[Picture], size_px: int, recipe: AugmentRecipe, rng: np.random.Generator
) -> list[Picture]:
    """Apply RandAugment, a random crop and a flip to the frames of one clip, one after the other.

    Args:
        frames: of one clip, all of one size.
        size_px: side of the square frames that are returned.
        recipe: strengths and probabilities.
        rng: of every draw.
    """
    for _ in range(recipe.randaugment_layers):
        operation = OPERATIONS[rng.integers(len(OPERATIONS))]
        applied, positive = rng.random(2) < (APPLY_PROBABILITY, 0.5)
        drawn = rng.normal(recipe.randaugment_magnitude, MAGNITUDE_STD)
        strength = float(np.clip(drawn, 0, HIGHEST)) / HIGHEST
        if applied:
            frames = [operation(frame, strength if positive else -strength) for frame in frames]
    box = crop_box(*frames[0].size, recipe.crop_scale, rng)
    size = (size_px, size_px)
    frames = [frame.resize(size, Image.Resampling.BICUBIC, box) for frame in frames]
    if rng.random() < recipe.flip:
        frames = [ImageOps.mirror(frame) for frame in frames]
    return frames


def crop_box(
    width: int, height: int, scale: tuple[float, float], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw left, top, right and bottom of a crop as RandomResizedCrop does."""
    for _ in range(10):
        area = rng.uniform(*scale) * width * height
        ratio = math.exp(rng.uniform(*np.log(CROP_RATIO)))
        across, down = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if across <= width and down <= height:
            left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
            return left, top, left + across, top + down
    return 0, 0, width, height


def erase(pixels: np.ndarray, probability: float, rng: np.random.Generator) -> None:
    """Fill, with that probability, one box of (time, channel, S, S) with noise, in place."""
    if rng.random() >= probability:
        return
    size = pixels.shape[-1]
    for _ in range(10):
        area = rng.uniform(*ERASED_AREA) * size**2
        ratio = math.exp(rng.uniform(*np.log(ERASED_RATIO)))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < height < size and 0 < width < size:
            top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
            box = pixels[:, :, top : top + height, left : left + width]
            box[:] = rng.standard_normal(box.shape, dtype=np.float32)
            return


def mask_mel(mel: np.ndarray, recipe: AugmentRecipe, rng: np.random.Generator) -> None:
    """SpecAugment on (1, time, mel), in place: masked parts take the mean."""
    mean = mel.mean()
    for axis, masks, share in (
        (1, recipe.time_masks, recipe.time_mask_share),
        (2, recipe.frequency_masks, recipe.frequency_mask_share),
    ):
        size = mel.shape[axis]
        for _ in range(masks):
            width = int(rng.integers(int(share * size) + 1))
            start = int(rng.integers(size - width + 1))
            mel[(slice(None),) * axis + (slice(start, start + width),)] = mean
