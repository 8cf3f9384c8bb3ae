"""Clips become one batch of uint8 frames and waveforms, and a batch becomes scores, with torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claip_emo.media.clip import Clip
from claip_emo.model.description import Described, Modality
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import Scores, check_modalities, scores_of, views_of

FRAMES_AT_ONCE, SEGMENTS_AT_ONCE = 32, 2
"""As many as the CPU's caches and its allocator are at ease with: their pixels are 19 MB."""
GPU_FACTOR = 16


class Encoder(Protocol):
    """What a batch is scored with: a model, or what its towers know of words."""

    @property
    def config(self) -> Described:
        """What it reads, its classes, and how its logits are corrected."""
        ...

    video_width: int
    audio_width: int
    device: torch.device
    head_dtype: torch.dtype

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Turn frames (frame, channel, height, width) into features (frame, video width)."""
        ...

    def over_time(self, frames: Tensor) -> Tensor:
        """Turn features of frames (batch, time, width) into features (batch, video width)."""
        ...

    def encode_audio(self, input_features: Tensor) -> Tensor:
        """Turn log-mels (batch, window, time, mel) in dB into features (batch, audio width)."""
        ...

    def fuse(self, video: Tensor, audio: Tensor) -> Tensor:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        ...


def stack(clips: Sequence[Clip]) -> dict[str, Tensor]:
    """Stack the views of clips.

    Returns:
        ``frames`` (frame, S, S, 3) uint8, each distinct frame of a clip once, and ``frame``
        (view, time), the places of each view's frames in it (0 where a clip has no picture), both
        only if any clip has a picture; ``waveforms`` (segment, samples) float32, zero-padded, one
        row per distinct segment; ``lengths`` (segment,); ``segment`` (view,), the row of each
        view's sound; ``has_video``, ``has_audio`` (view,) bool; ``clip`` (view,), the place of each
        view's clip.
    """
    views = views_of(clips)
    waveforms, lengths = _padded(views.sounds or (np.zeros(1, np.float32),))
    arrays = {
        "waveforms": waveforms,
        "lengths": lengths,
        "segment": views.segment,
        "has_video": views.has_video,
        "has_audio": views.has_audio,
        "clip": views.clip,
    }
    if views.frames is not None:
        arrays |= {"frames": views.frames, "frame": views.places}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _padded(
    sounds: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Stack sounds of any lengths to (segment, samples), zeros behind, and tell their lengths."""
    lengths = np.array([len(samples) for samples in sounds])
    waveforms = np.zeros((len(sounds), lengths.max()), np.float32)
    for row, samples in enumerate(sounds):
        waveforms[row, : len(samples)] = samples
    return waveforms, lengths


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch; leave the rest."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


@torch.inference_mode()
def score(
    model: Encoder,
    processor: ClaipEmoProcessor,
    batch: dict[str, Tensor],
    modalities: Iterable[Modality] = ("av",),
) -> dict[Modality, Scores]:
    """Score the clips of a batch with both modalities, or with one of them masked.

    The towers run once, whatever the number of modalities asked for. Scores of a clip are the mean
    over its views, as ``stacking.scores_of`` says.

    A model that reads one modality ignores what a clip has of the other: its ``av`` are the scores
    of the one, and a clip that lacks it is scored as zero features.

    Raises:
        ModalityError: if the model does not read what is asked for.
    """
    modalities = check_modalities(model.config, modalities)
    views = {name: batch[name].cpu().numpy() for name in ("has_video", "has_audio", "clip")}
    batch = to_device(batch, model.device)
    video = torch.zeros(len(batch["clip"]), model.video_width, device=model.device)
    audio = torch.zeros(len(batch["clip"]), model.audio_width, device=model.device)
    if model.config.reads_video and views["has_video"].any():
        seen = batch["has_video"].nonzero().squeeze(1)
        shown = _encode_frames(model, processor, batch["frames"])  # (frame, width)
        places = batch["frame"][seen]
        video[seen] = model.over_time(shown[places]).float()
    if model.config.reads_audio and views["has_audio"].any():
        heard = _encode_sounds(model, processor, batch["waveforms"], batch["lengths"])
        audio = torch.where(batch["has_audio"][:, None], heard[batch["segment"]], audio)
    results: dict[Modality, Scores] = {}
    for modality in modalities:
        face = video if "v" in modality else torch.zeros_like(video)
        voice = audio if "a" in modality else torch.zeros_like(audio)
        logits = model.fuse(face.to(model.head_dtype), voice.to(model.head_dtype))
        logits = logits.cpu().double()  # not every device has doubles
        results[modality] = scores_of(model.config, modality, logits.numpy(), **views)
    return results


@torch.inference_mode()
def encode_arrays(
    model: Encoder,
    processor: ClaipEmoProcessor,
    frames: NDArray[np.uint8],
    sounds: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Encode frames (frame, S, S, 3) uint8 and pieces of sound (samples,), some at a time.

    Returns:
        Features (frame, video width) and (piece, audio width).
    """
    shown, heard = torch.zeros(0, model.video_width), torch.zeros(0, model.audio_width)
    if len(frames):
        shown = _encode_frames(model, processor, torch.from_numpy(frames).to(model.device))
    if len(sounds):
        padded = (torch.from_numpy(array).to(model.device) for array in _padded(sounds))
        heard = _encode_sounds(model, processor, *padded)
    return shown.float().cpu().numpy(), heard.cpu().numpy()


def _encode_frames(model: Encoder, processor: ClaipEmoProcessor, frames: Tensor) -> Tensor:
    """Encode (frame, S, S, 3) uint8, some at a time, to (frame, width) of the head's type."""
    encoded = []
    for few in frames.split(_at_once(model.device, FRAMES_AT_ONCE)):
        pixels = processor(frames=few[None])["pixel_values"][0].to(model.head_dtype)
        encoded.append(
            encode_mirrored(model, pixels, processor.settings.image_mirrored).to(model.head_dtype)
        )
    return torch.cat(encoded)


def encode_mirrored(model: Encoder, pixels: Tensor, mirrored: bool) -> Tensor:
    """Encode frames (frame, channel, S, S), averaged with those of their mirror images if asked."""
    features = model.encode_frames(pixels)
    return (features + model.encode_frames(pixels.flip(-1))) / 2 if mirrored else features


def _encode_sounds(
    model: Encoder,
    processor: ClaipEmoProcessor,
    waveforms: Tensor,
    lengths: Tensor,
) -> Tensor:
    """Encode (segment, samples), some at a time, to (segment, audio width), float32."""
    encoded = []
    few = _at_once(model.device, SEGMENTS_AT_ONCE)
    for sounds, whole in zip(waveforms.split(few), lengths.split(few), strict=True):
        mel = processor(waveforms=sounds, lengths=whole)["input_features"]
        encoded.append(model.encode_audio(mel.to(model.head_dtype)).float())
    return torch.cat(encoded)


def _at_once(device: torch.device, on_cpu: int) -> int:
    """Return how many frames or segments are encoded at once."""
    return on_cpu if device.type == "cpu" else on_cpu * GPU_FACTOR
