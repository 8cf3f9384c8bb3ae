"""Clips become one batch of uint8 frames and waveforms, and a batch becomes scores.

A clip has one or more views, and views share frames and seconds. Equal frames and equal seconds of
sound are stacked once, so that the towers run once for each however many views share it: the four
views of the paper's protocol have 64 frames, of which a clip of 100 decoded frames has 25 distinct.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claip_emo.media.clip import Clip
from claip_emo.model.description import READS, Modality, ModalityError
from claip_emo.model.processing import ClaipEmoProcessor

if TYPE_CHECKING:
    from claip_emo.model.folded import FoldedModel
    from claip_emo.model.modeling import ClaipEmoModel

    Predictor = ClaipEmoModel | FoldedModel

MODALITIES: tuple[Modality, ...] = get_args(Modality)
FRAMES_AT_ONCE, SEGMENTS_AT_ONCE = 32, 2
"""As many as the CPU's caches and its allocator are at ease with: their pixels are 19 MB."""
GPU_FACTOR = 16


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per clip: mean logits over its views, and the mean of their softmax.

    Attributes:
        logits: (clip, classes).
        probabilities: (clip, classes), rows sum to 1.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]


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
    views = [clip.num_views for clip in clips]
    owner = torch.arange(len(clips)).repeat_interleave(torch.tensor(views))
    has_video = torch.tensor([clip.has_video for clip in clips])[owner]
    has_audio = torch.tensor([clip.has_audio for clip in clips])[owner]
    batch = {**_stack_sound(clips), "has_video": has_video, "has_audio": has_audio, "clip": owner}
    if any(clip.frames is not None for clip in clips):
        batch |= _stack_frames(clips)
    return batch


def _stack_frames(clips: Sequence[Clip]) -> dict[str, Tensor]:
    length = next(clip.frames.shape[1] for clip in clips if clip.frames is not None)
    frames: list[NDArray[np.uint8]] = []
    places = []
    for clip in clips:
        if clip.frames is None:
            places.append(np.zeros((clip.num_views, length), np.int64))
            continue
        first, place = _distinct(clip)
        places.append(place + len(frames))
        frames += list(clip.frames.reshape(-1, *clip.frames.shape[2:])[first])
    return {
        "frames": torch.from_numpy(np.stack(frames)),
        "frame": torch.from_numpy(np.concatenate(places)),
    }


def _distinct(clip: Clip) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tell which frames of a clip's views are the same: shown at one time, with equal pixels.

    Returns:
        Places of the distinct frames among all (frame,), and which of them each is (view, time).
    """
    pictures = clip.frames.reshape(-1, *clip.frames.shape[2:])
    every = np.arange(len(pictures))
    times = every if clip.frame_times_s is None else clip.frame_times_s.reshape(-1)
    _, first, place = np.unique(times, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[place] != every)
    if not all(np.array_equal(pictures[i], pictures[first[place[i]]]) for i in again):
        first = place = every
    return first, place.reshape(clip.frames.shape[:2])


def _stack_sound(clips: Sequence[Clip]) -> dict[str, Tensor]:
    segments: list[NDArray[np.float32]] = []
    segment = []
    for clip in clips:
        rows: dict[tuple[float, float], int] = {}
        for view in range(clip.num_views):
            if not clip.has_audio:
                segment.append(0)
                continue
            span = clip.audio_spans_s[view]
            if span not in rows:
                rows[span] = len(segments)
                segments.append(clip.waveforms[view])
            segment.append(rows[span])
    segments = segments or [np.zeros(1, np.float32)]
    waveforms = np.zeros((len(segments), max(len(s) for s in segments)), np.float32)
    for row, samples in enumerate(segments):
        waveforms[row, : len(samples)] = samples
    return {
        "waveforms": torch.from_numpy(waveforms),
        "lengths": torch.tensor([len(samples) for samples in segments]),
        "segment": torch.tensor(segment),
    }


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch; leave the rest."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


@torch.inference_mode()
def score(
    model: Predictor,
    processor: ClaipEmoProcessor,
    batch: dict[str, Tensor],
    modalities: Iterable[Modality] = ("av",),
) -> dict[Modality, Scores]:
    """Score the clips of a batch with both modalities, or with one of them masked.

    The towers run once, whatever the number of modalities asked for. Scores of a clip are the mean
    over its views of the softmax of the logits, shifted by the model's ``logit_shift`` and divided
    by its temperature.

    A model that reads one modality ignores what a clip has of the other: its ``av`` are the scores
    of the one, and a clip that lacks it is scored as zero features.

    Raises:
        ModalityError: if the model does not read what is asked for.
    """
    modalities = tuple(modalities)
    if unread := {*modalities} - {*model.config.modalities, "av"}:
        raise ModalityError(
            f"This model reads {READS[model.config.modality]} only; it has no scores of "
            f"{READS[unread.pop()]}."
        )
    owner = batch["clip"].cpu()
    shifts = {what: _shift(model, batch, what) for what in modalities}
    batch = to_device(batch, model.device)
    video = torch.zeros(len(batch["clip"]), model.video_width, device=model.device)
    audio = torch.zeros(len(batch["clip"]), model.audio_width, device=model.device)
    if model.config.reads_video and batch["has_video"].any():
        seen = batch["has_video"].nonzero().squeeze(1)
        shown = _encode_frames(model, processor, batch["frames"])  # (frame, width)
        places = batch["frame"][seen]
        video[seen] = model.over_time(shown[places]).float()
    if model.config.reads_audio and batch["has_audio"].any():
        heard = _encode_sounds(model, processor, batch["waveforms"], batch["lengths"])
        audio = torch.where(batch["has_audio"][:, None], heard[batch["segment"]], audio)
    results: dict[Modality, Scores] = {}
    for modality in modalities:
        face = video if "v" in modality else torch.zeros_like(video)
        voice = audio if "a" in modality else torch.zeros_like(audio)
        fused = model.fuse(face.to(model.head_dtype), voice.to(model.head_dtype))
        logits = fused.cpu().double() + shifts[modality]  # not every device has doubles
        probabilities = (logits / model.config.temperature).softmax(dim=-1)
        results[modality] = Scores(
            _mean_by_clip(logits, owner), _mean_by_clip(probabilities, owner)
        )
    return results


def _shift(model: Predictor, batch: dict[str, Tensor], modality: Modality) -> Tensor:
    """Return what the configuration adds to the logits of each view (view, classes)."""
    config = model.config
    shift = torch.zeros(len(batch["clip"]), len(config.labels), dtype=torch.float64)
    if config.logit_shift:
        face = batch["has_video"].cpu() & ("v" in modality and config.reads_video)
        voice = batch["has_audio"].cpu() & ("a" in modality and config.reads_audio)
        for there, which in (("av", face & voice), ("v", face & ~voice), ("a", voice & ~face)):
            if there in config.logit_shift:
                shift[which] = torch.tensor(config.logit_shift[there], dtype=torch.float64)
    return shift


def _encode_frames(model: Predictor, processor: ClaipEmoProcessor, frames: Tensor) -> Tensor:
    """Encode (frame, S, S, 3) uint8, some at a time, to (frame, width) of the head's type."""
    encoded = []
    for few in frames.split(_at_once(model.device, FRAMES_AT_ONCE)):
        pixels = processor(frames=few[None])["pixel_values"][0].to(model.head_dtype)
        encoded.append(
            encode_mirrored(model, pixels, processor.settings.image_mirrored).to(model.head_dtype)
        )
    return torch.cat(encoded)


def encode_mirrored(model: Predictor, pixels: Tensor, mirrored: bool) -> Tensor:
    """Encode frames (frame, channel, S, S), averaged with those of their mirror images if asked."""
    features = model.encode_frames(pixels)
    return (features + model.encode_frames(pixels.flip(-1))) / 2 if mirrored else features


def _encode_sounds(
    model: Predictor,
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


def _mean_by_clip(values: Tensor, clip: Tensor) -> NDArray[np.float64]:
    """Average (view, classes) over the views of each clip to (clip, classes)."""
    count = int(clip.max()) + 1
    total = values.new_zeros(count, values.shape[1]).index_add_(0, clip, values)
    views = torch.bincount(clip, minlength=count)[:, None]
    return (total / views).numpy()
