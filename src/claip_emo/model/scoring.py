"""Clips become scores with towers, temporal module and head that take arrays and give arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import Clip
from claip_emo.model.description import Described, Modality
from claip_emo.model.processor_settings import ProcessorSettings
from claip_emo.model.prompts import Role
from claip_emo.model.stacking import Scores, check_modalities, scores_of, views_of

Array = NDArray[np.float32]
NO_FRAMES = np.zeros((0, 1, 1, 3), np.uint8)


class ArrayEncoder(Protocol):
    """The parts of a model one by one, for who lets the towers run once for many questions.

    Attributes:
        settings: what its towers want to see.
        widths: of the vector of each tower, ``vision`` and ``audio``; 0: the model has none.
    """

    settings: ProcessorSettings
    widths: Mapping[Role, int]

    @property
    def config(self) -> Described:
        """What it reads, its classes, and how its logits are corrected."""
        ...

    def encode(
        self, frames: NDArray[np.uint8] = NO_FRAMES, sounds: Sequence[Array] = ()
    ) -> tuple[Array, Array]:
        """Turn crops and pieces of sound into features, some at a time.

        Args:
            frames: (frame, S, S, 3), uint8 RGB.
            sounds: of each piece (samples,), float32 in [-1, 1].

        Returns:
            (frame, video width) and (piece, audio width).
        """
        ...

    def over_time(self, frames: Array) -> Array:
        """Turn features of frames (batch, time, video width) into (batch, video width)."""
        ...

    def attention(self, frames: Array) -> Array | None:
        """Return how a temporal Transformer attends to each frame; None: there is none.

        Args:
            frames: features (batch, time, video width).

        Returns:
            (batch, time), of the CLS token, averaged over the heads; rows sum to at most 1.
        """
        ...

    def fuse(self, video: Array, audio: Array) -> Array:
        """Turn features (batch, video width) and (batch, audio width) into logits.

        What is missing or masked is zero.
        """
        ...


def score_clips(model: ArrayEncoder, clips: Sequence[Clip], modality: Modality) -> Scores:
    """Score clips, with both modalities or with one of them masked, which then is not encoded.

    Raises:
        ModalityError: if the model does not read what is asked for.
    """
    check_modalities(model.config, (modality,))
    views = views_of(clips)
    face = "v" in modality and model.config.reads_video and views.frames is not None
    sounds = views.sounds if "a" in modality and model.config.reads_audio else ()
    shown, heard = model.encode(views.frames if face else NO_FRAMES, sounds)
    video, audio = (
        np.zeros((len(views.clip), model.widths[role]), np.float32) for role in ("vision", "audio")
    )
    if face:
        video[views.has_video] = model.over_time(shown[views.places[views.has_video]])
    if sounds:
        audio[views.has_audio] = heard[views.segment[views.has_audio]]
    return scores_of(
        model.config,
        modality,
        model.fuse(video, audio),
        has_video=views.has_video,
        has_audio=views.has_audio,
        clip=views.clip,
    )
