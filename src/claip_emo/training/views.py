"""Every frame and every second of sound that a run will see of a clip, each once."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from claip_emo.data.dataset import ClipDataset, Draw
from claip_emo.data.shards import DamagedShardError
from claip_emo.media.clip import Clip
from claip_emo.media.decode import MediaError
from claip_emo.media.recording import Recording, load_recording

NOTHING = -1  # the row of a view that lacks a modality


@dataclass(frozen=True, slots=True)
class Views:
    """What the towers see of the views of one clip, equal frames and equal seconds once.

    Attributes:
        frames: (frame, S, S, 3) uint8; None: no picture.
        sounds: waveforms, (samples,) float32 each.
        shown: (view, time), rows of ``frames``; -1 where there is no picture.
        heard: (view,), places in ``sounds``; -1 where there is no sound.
    """

    frames: Tensor | None
    sounds: list[Tensor]
    shown: Tensor
    heard: Tensor


def gather(clips: Iterable[Clip], num_frames: int) -> Views:
    """Collect the views of one clip, in order; frames are told apart by what they show."""
    frames: list[Tensor] = []
    sounds: list[Tensor] = []
    rows: dict[bytes, int] = {}
    places: dict[tuple[float, float], int] = {}
    shown: list[list[int]] = []
    heard: list[int] = []
    for clip in clips:
        for view in range(clip.num_views):
            shown.append([NOTHING] * num_frames)
            heard.append(NOTHING)
            for time, frame in enumerate(clip.frames[view] if clip.frames is not None else ()):
                key = hashlib.blake2b(frame, digest_size=16).digest()
                if key not in rows:
                    rows[key] = len(frames)
                    frames.append(torch.from_numpy(frame.copy()))
                shown[-1][time] = rows[key]
            if clip.has_audio:
                span = clip.audio_spans_s[view]
                if span not in places:
                    places[span] = len(sounds)
                    sounds.append(torch.from_numpy(clip.waveforms[view]))
                heard[-1] = places[span]
    stacked = torch.stack(frames) if frames else None
    return Views(stacked, sounds, torch.tensor(shown), torch.tensor(heard))


def windows(dataset: ClipDataset, index: int, epochs: int) -> Views:
    """Collect the training windows of a clip, a view per epoch; its file is decoded once.

    Raises:
        MediaError: if the file yields nothing.
    """
    draws = [Draw(epoch, index) for epoch in range(epochs)]
    try:
        recording = _recording(dataset, index)
        if recording is not None:
            return _of_recording(recording, dataset, draws)
    except DamagedShardError as error:
        dataset.cache.set_aside(error)
    return gather((dataset[draw].clip for draw in draws), dataset.spec.num_frames)


def _of_recording(recording: Recording, dataset: ClipDataset, draws: list[Draw]) -> Views:
    """Collect windows of a recording by the numbers of their frames, then take each frame once."""
    whole = recording.frames
    if whole is not None:
        recording = replace(recording, frames=Numbers(whole.shape))
    numbered = copy.copy(dataset)
    numbered.recordings = {draws[0].index: recording}
    views = gather((numbered[draw].clip for draw in draws), dataset.spec.num_frames)
    if whole is None or views.frames is None:
        return views
    return replace(views, frames=torch.from_numpy(whole[views.frames.flatten().numpy()]))


class Numbers:
    """Stands for the frames of a recording, and gives their numbers in the place of frames.

    Args:
        shape: of the frames.
    """

    nbytes = 0

    def __init__(self, shape: tuple[int, ...]):
        """Take the shape of the frames that it stands for."""
        self.shape = shape

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return indices (...,) as (..., 1, 1, 1)."""
        return np.ascontiguousarray(indices[..., None, None, None])


def _recording(dataset: ClipDataset, index: int) -> Recording | None:
    """Return a clip decoded whole; None where it is too long, or yields nothing."""
    sample = dataset.corpus.samples[index]
    options = {"detector": dataset.detector, "audio_path": sample.audio_path}
    kept = dataset.recordings.get(index)
    try:
        if kept is None and dataset.cache is not None:
            kept = dataset.cache.recording(sample)
        return kept or dataset.read(load_recording, sample.path, **options)
    except MediaError:  # read window by window, which says what is wrong
        return None


class ClipViews(Dataset[Views]):
    """The views of each clip: those of its training windows, or its test views.

    Args:
        dataset: the clips.
        epochs: whose windows are wanted; None: the test views.
    """

    def __init__(self, dataset: ClipDataset, epochs: int | None):
        """Take the clips; nothing is read before the first access."""
        self.dataset = dataset
        self.epochs = epochs

    def __getitem__(self, index: int) -> Views:
        """Read one clip."""
        if self.epochs is None:
            return gather([self.dataset[index].clip], self.dataset.spec.num_frames)
        return windows(self.dataset, index, self.epochs)
