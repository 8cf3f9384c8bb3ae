"""Clips become one batch of views, and logits of views become scores of clips; as arrays.

A clip has one or more views, and views share frames and seconds. Equal frames and equal seconds of
sound are kept once, so that the towers run once for each however many views share it: the four
views of the paper's protocol have 64 frames, of which a clip of 100 decoded frames has 25 distinct.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import Clip
from claip_emo.metrics import softmax
from claip_emo.model.description import READS, Described, Modality, ModalityError

MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True)
class Views:
    """The views of clips.

    Attributes:
        frames: (frame, S, S, 3) uint8, each distinct frame of a clip once; None: no clip has one.
        places: (view, time), the places of each view's frames in ``frames``, 0 where a clip has no
            picture; None: no clip has one.
        sounds: each distinct stretch of sound once, (samples,) float32.
        segment: (view,), the place of each view's sound in ``sounds``, 0 where a clip has none.
        has_video: (view,) bool.
        has_audio: (view,) bool.
        clip: (view,), the place of each view's clip.
    """

    frames: NDArray[np.uint8] | None
    places: NDArray[np.int64] | None
    sounds: tuple[NDArray[np.float32], ...]
    segment: NDArray[np.int64]
    has_video: NDArray[np.bool_]
    has_audio: NDArray[np.bool_]
    clip: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per clip: mean logits over its views, and the mean of their softmax.

    Attributes:
        logits: (clip, classes).
        probabilities: (clip, classes), rows sum to 1.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def views_of(clips: Sequence[Clip]) -> Views:
    """Stack the views of clips."""
    owner = np.repeat(np.arange(len(clips)), [clip.num_views for clip in clips])
    frames, places = _frames_of(clips) if any(clip.has_video for clip in clips) else (None, None)
    sounds, segment = _sounds_of(clips)
    return Views(
        frames=frames,
        places=places,
        sounds=sounds,
        segment=segment,
        has_video=np.array([clip.has_video for clip in clips], bool)[owner],
        has_audio=np.array([clip.has_audio for clip in clips], bool)[owner],
        clip=owner,
    )


def _frames_of(clips: Sequence[Clip]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
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
    return np.stack(frames), np.concatenate(places)


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


def _sounds_of(
    clips: Sequence[Clip],
) -> tuple[tuple[NDArray[np.float32], ...], NDArray[np.int64]]:
    sounds: list[NDArray[np.float32]] = []
    segment = []
    for clip in clips:
        rows: dict[tuple[float, float], int] = {}
        for view in range(clip.num_views):
            if not clip.has_audio:
                segment.append(0)
                continue
            span = clip.audio_spans_s[view]
            if span not in rows:
                rows[span] = len(sounds)
                sounds.append(clip.waveforms[view])
            segment.append(rows[span])
    return tuple(sounds), np.array(segment, np.int64)


def check_modalities(config: Described, asked: Iterable[Modality]) -> tuple[Modality, ...]:
    """Return what is asked for, if a model can score it.

    Raises:
        ModalityError: if the model does not read it.
    """
    asked = tuple(asked)
    if unread := {*asked} - {*config.modalities, "av"}:
        raise ModalityError(
            f"This model reads {READS[config.modality]} only; it has no scores of "
            f"{READS[unread.pop()]}."
        )
    return asked


def scores_of(
    config: Described,
    modality: Modality,
    logits: NDArray[np.floating],
    *,
    has_video: NDArray[np.bool_],
    has_audio: NDArray[np.bool_],
    clip: NDArray[np.int64],
) -> Scores:
    """Turn logits of views into scores of clips: the means over their views.

    Logits are shifted by the model's ``logit_shift``, and divided by its ``temperature`` before the
    softmax, both by what is there of the clip.

    Args:
        config: of the model.
        modality: what was left unmasked.
        logits: (view, classes).
        has_video: (view,).
        has_audio: (view,).
        clip: (view,), the place of each view's clip.

    Raises:
        ValueError: if a logit is not finite.
    """
    shifted = logits.astype(np.float64)
    temperature = np.full((len(shifted), 1), config.temperature_of(None))  # (view, 1)
    for there, which in there_of(config, modality, has_video, has_audio).items():
        if there in (config.logit_shift or {}):
            shifted[which] += config.logit_shift[there]
        temperature[which] = config.temperature_of(there)
    scores = softmax(shifted / temperature)
    return Scores(mean_by_clip(shifted, clip), mean_by_clip(scores, clip))


def there_of(
    config: Described,
    modality: Modality,
    has_video: NDArray[np.bool_],
    has_audio: NDArray[np.bool_],
) -> dict[Modality, NDArray[np.bool_]]:
    """Tell which views (view,) have both, a face alone, or a voice alone of what the model reads.

    Args:
        config: of the model.
        modality: what was left unmasked.
        has_video: (view,).
        has_audio: (view,).
    """
    face = has_video & ("v" in modality and config.reads_video)
    voice = has_audio & ("a" in modality and config.reads_audio)
    return {"av": face & voice, "v": face & ~voice, "a": voice & ~face}


def mean_by_clip(values: NDArray[np.float64], clip: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average (view, classes) over the views of each clip to (clip, classes)."""
    views = np.bincount(clip)
    total = np.zeros((len(views), values.shape[1]))
    np.add.at(total, clip, values)
    return total / views[:, None]
