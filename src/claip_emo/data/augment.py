"""Augmentation on the device: frames, sound and labels of a batch, from one generator per step.

Mixup and cutmix draw once for frames, sound and labels together. (The paper's released code mixes
the two modalities with two different draws, while the labels follow the video's.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from claip_emo.data.randaugment import randaugment
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe

CROP_RATIO = (3 / 4, 4 / 3)  # aspect ratios of RandomResizedCrop
ERASED_AREA = (0.02, 1 / 3)  # share of the frame that random erasing fills
ERASED_RATIO = (0.3, 1 / 0.3)
TRIES = 10  # draws of a box before it is given up


class Augmentation:
    """Turns a stacked batch into a model's inputs and soft targets, augmented.

    Args:
        recipe: strengths and probabilities.
        processor: what the towers want to see.
        num_labels: number of classes.
        label_smoothing: share of each target spread evenly over the classes.
    """

    def __init__(
        self,
        recipe: AugmentRecipe,
        processor: ClaipEmoProcessor,
        num_labels: int,
        label_smoothing: float = 0.0,
    ):
        """Take the settings; every draw comes from the generator of the call."""
        self.recipe = recipe
        self.processor = processor
        self.num_labels = num_labels
        self.label_smoothing = label_smoothing

    def __call__(self, batch: dict[str, Any], rng: np.random.Generator) -> dict[str, Tensor]:
        """Process and augment one batch of training windows.

        Args:
            batch: what ``data.dataset.collate`` returned, on the device.
            rng: generator of every draw of this step.

        Returns:
            ``pixel_values``, ``input_features``, ``has_video``, ``has_audio`` and soft ``labels``
            (batch, classes); the first two only where any clip has the modality.
        """
        inputs: dict[str, Tensor] = {
            "has_video": batch["has_video"].clone(),
            "has_audio": batch["has_audio"].clone(),
            "labels": soft_targets(batch["labels"], self.num_labels, self.label_smoothing),
        }
        if "frames" in batch:
            frame = fewer(batch["frame"], self.recipe.frames, rng)
            inputs["pixel_values"] = self.frames(batch["frames"][frame], rng)
        if bool(batch["has_audio"].any()):
            processed = self.processor(waveforms=batch["waveforms"], lengths=batch["lengths"])
            mel = processed["input_features"][batch["segment"]]  # (batch, window, time, mel)
            every = torch.arange(mel.shape[1], device=mel.device).expand(len(mel), -1)
            heard = fewer(every, self.recipe.windows, rng)
            mel = mel[torch.arange(len(mel), device=mel.device)[:, None], heard]
            inputs["input_features"] = self.spectrogram(mel, rng)
        inputs = self.mix(inputs, rng)
        drop_modalities(inputs, self.recipe.modality_dropout, rng)
        return inputs

    def frames(self, frames: Tensor, rng: np.random.Generator) -> Tensor:
        """Augment (batch, time, H, W, 3) uint8 to (batch, time, channel, S, S) normalised.

        Every frame of a clip gets the same operations.
        """
        pixels = self.processor.resize(frames)  # (B, T, 3, S, S) in [0, 1]
        if self.recipe.randaugment_layers:
            pixels = torch.stack(
                [
                    randaugment(
                        clip,
                        layers=self.recipe.randaugment_layers,
                        magnitude=self.recipe.randaugment_magnitude,
                        rng=rng,
                    )
                    for clip in pixels
                ]
            )
        pixels = crop_and_flip(pixels, self.recipe.crop_scale, self.recipe.flip, rng)
        return erase(self.processor.normalise(pixels), self.recipe.erase, rng)

    def spectrogram(self, mel: Tensor, rng: np.random.Generator) -> Tensor:
        """SpecAugment on (batch, window, time, mel) dB: masked parts take the clip's mean."""
        recipe = self.recipe
        masks = (
            (1, recipe.time_masks, recipe.time_mask_share),
            (2, recipe.frequency_masks, recipe.frequency_mask_share),
        )
        return torch.stack([masked(one, masks, rng) for one in mel])

    def mix(self, inputs: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
        """Blend (mixup) or cut (cutmix) the batch with a permutation of itself, or leave it.

        A clip that lacks a modality which its partner has takes the partner's whole; one that has
        it while the partner lacks it keeps its own.
        """
        recipe = self.recipe
        batch = len(inputs["labels"])
        if (
            batch < 2
            or not (recipe.mixup or recipe.cutmix)
            or rng.random() >= recipe.mix_probability
        ):
            return inputs
        cut = recipe.cutmix > 0 and (recipe.mixup == 0 or rng.random() < recipe.cutmix_probability)
        alpha = recipe.cutmix if cut else recipe.mixup
        kept = float(rng.beta(alpha, alpha))
        partner = torch.from_numpy(rng.permutation(batch)).to(inputs["labels"].device)
        mixed = dict(inputs)
        if cut:
            size = inputs["pixel_values"].shape[-1] if "pixel_values" in inputs else 224
            top, left, height, width = cut_box(1 - kept, size, rng)
            kept = 1 - height * width / size**2  # the share really pasted decides
            begin = rng.random()
        for name, present in (("pixel_values", "has_video"), ("input_features", "has_audio")):
            if name not in inputs:
                continue
            own, other = inputs[name], inputs[name][partner]
            if not cut:
                both = torch.lerp(other, own, kept)
            elif name == "pixel_values":
                both = own.clone()
                both[..., top : top + height, left : left + width] = other[
                    ..., top : top + height, left : left + width
                ]
            else:
                time = own.shape[2]
                length = round((1 - kept) * time)
                start = int(begin * (time - length + 1))
                both = own.clone()
                both[:, :, start : start + length] = other[:, :, start : start + length]
            here, there = inputs[present], inputs[present][partner]
            shape = (-1, *([1] * (own.dim() - 1)))
            alone = torch.where(here.view(shape), own, other)
            mixed[name] = torch.where((here & there).view(shape), both, alone)
            mixed[present] = here | there
        mixed["labels"] = torch.lerp(inputs["labels"][partner], inputs["labels"], kept)
        return mixed


def fewer(frame: Tensor, count: int | None, rng: np.random.Generator) -> Tensor:
    """Draw some frames, or windows of sound, of each clip, in their order.

    Args:
        frame: (batch, time), their places.
        count: how many; None, or as many as there are: all.
        rng: generator of the draws.

    Returns:
        (batch, count).
    """
    batch, time = frame.shape
    if count is None or count >= time:
        return frame
    drawn = np.sort(rng.random((batch, time)).argsort(axis=1)[:, :count], axis=1)
    return frame.gather(1, torch.from_numpy(drawn).to(frame.device))


def masked(
    mel: Tensor, masks: Iterable[tuple[int, int, float]], rng: np.random.Generator
) -> Tensor:
    """Return a log-mel (window, time, mel) whose masked parts took its mean (SpecAugment).

    Args:
        mel: in dB.
        masks: axis, number, and longest share of the axis.
        rng: generator of the draws.
    """
    mean, mel = mel.mean(), mel.clone()
    for axis, count, share in masks:
        size = mel.shape[axis]
        for _ in range(count):
            width = int(rng.integers(int(share * size) + 1))
            start = int(rng.integers(size - width + 1))
            mel.narrow(axis, start, width).fill_(mean)
    return mel


def soft_targets(labels: Tensor, num_labels: int, smoothing: float) -> Tensor:
    """Turn (batch,) class indices into (batch, classes) targets, smoothed."""
    off = smoothing / num_labels
    targets = torch.full((len(labels), num_labels), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + off)


def crop_and_flip(
    pixels: Tensor, scale: tuple[float, float], flip: float, rng: np.random.Generator
) -> Tensor:
    """Cut a random box per clip, scale it back to the whole frame, and mirror some clips.

    Args:
        pixels: (batch, time, channel, S, S).
        scale: share of the area that is kept, smallest and largest.
        flip: probability of mirroring.
        rng: generator of the draws.
    """
    batch, time = pixels.shape[:2]
    boxes = np.stack([_crop_box(scale, rng) for _ in range(batch)])  # centre x, y, width, height
    mirrored = rng.random(batch) < flip
    if scale[0] == 1 and not mirrored.any():
        return pixels
    theta = np.zeros((batch, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(mirrored, -boxes[:, 2], boxes[:, 2])
    theta[:, 1, 1] = boxes[:, 3]
    theta[:, :, 2] = 2 * boxes[:, :2] - 1
    grids = torch.from_numpy(theta).to(pixels.device).repeat_interleave(time, dim=0)
    flat = pixels.flatten(0, 1)
    grid = functional.affine_grid(grids, list(flat.shape), align_corners=False)
    warped = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return warped.view_as(pixels)


def _crop_box(scale: tuple[float, float], rng: np.random.Generator) -> tuple[float, ...]:
    """Draw a box in the unit square as RandomResizedCrop does; return centre, width, height."""
    for _ in range(TRIES):
        area = rng.uniform(*scale)
        ratio = np.exp(rng.uniform(*np.log(CROP_RATIO))) if scale[0] < 1 else 1.0
        width, height = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if width <= 1 and height <= 1:
            x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
            return x + width / 2, y + height / 2, width, height
    return 0.5, 0.5, 1.0, 1.0


def erase(pixels: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Fill one box of some clips with Gaussian noise, the same box in every frame.

    Args:
        pixels: (batch, time, channel, S, S), normalised.
        probability: share of the clips that lose a box.
        rng: generator of the draws.
    """
    size = pixels.shape[-1]
    for place in np.flatnonzero(rng.random(len(pixels)) < probability):
        for _ in range(TRIES):
            area = rng.uniform(*ERASED_AREA) * size**2
            ratio = np.exp(rng.uniform(*np.log(ERASED_RATIO)))
            height, width = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < height < size and 0 < width < size:
                top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
                box = pixels[place, :, :, top : top + height, left : left + width]
                noise = rng.standard_normal(box.shape, dtype=np.float32)
                box.copy_(torch.from_numpy(noise))
                break
    return pixels


def cut_box(share: float, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box of a share of the area, centred anywhere and clipped; return top, left, h, w."""
    side = int(size * np.sqrt(share))
    centre = rng.integers(size, size=2)
    low = np.clip(centre - side // 2, 0, size)
    high = np.clip(centre + (side + 1) // 2, 0, size)
    (top, left), (height, width) = low, high - low
    return int(top), int(left), int(height), int(width)


def drop_modalities(
    inputs: dict[str, Tensor], probability: float, rng: np.random.Generator
) -> None:
    """Take face or voice, each as often, from some of the clips that have both; in place."""
    dropped = rng.random(len(inputs["labels"])) < probability
    face = rng.random(len(dropped)) < 0.5
    device = inputs["has_video"].device
    both = inputs["has_video"] & inputs["has_audio"]
    inputs["has_video"] = inputs["has_video"] & ~(
        both & torch.from_numpy(dropped & face).to(device)
    )
    inputs["has_audio"] = inputs["has_audio"] & ~(
        both & torch.from_numpy(dropped & ~face).to(device)
    )
