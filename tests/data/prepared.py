"""Samples of every kind of clip, and what finds out whether two clips are the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from claip_emo.corpora.base import Corpus, Sample
from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import ClipDataset
from claip_emo.data.prepare import Prepared, prepare
from claip_emo.labels import LabelSet
from claip_emo.media.clip import Clip, ClipSpec

from ..media.make_media import clicks, ramp, tone, write
from .detectors import SPEC

OFF_BY = 3  # levels of 255 by which JPEG may change a pixel of these even pictures


def sample(path: Path, audio_path: Path | None = None) -> Sample:
    return Sample(path.name, path, "anger", audio_path=audio_path)


def film(path: Path, frames: int = 60, sound_s: float = 2.4, **settings: object) -> Sample:
    """A video of a ramp with clicks, as lossless as its container can be."""
    return sample(write(path, ramp(frames), clicks(sound_s, [0.3, 1.1, 1.9]), **settings))


def folder(path: Path, frames: int = 40) -> Sample:
    """A folder of frames with a wav beside it."""
    path.mkdir()
    for index, frame in enumerate(ramp(frames)):
        cv2.imwrite(str(path / f"img{index}.png"), frame)
    write(path.parent / f"{path.name}.wav", None, clicks(1.6, [0.2, 1.3]))
    return sample(path)


def voice(path: Path) -> Sample:
    return sample(write(path, None, tone(4.0)))


def broken(path: Path) -> Sample:
    path.write_bytes(b"no clip at all")
    return sample(path)


def dataset(samples, cache: ClipCache | None, spec: ClipSpec = SPEC, detector=None) -> ClipDataset:
    corpus = Corpus("made", LabelSet(["anger", "fear"]), tuple(samples))
    return ClipDataset(corpus, spec, detector, seed=3, cache=cache)


def made(folder: Path, samples, spec: ClipSpec = SPEC, detector=None) -> tuple[ClipCache, Prepared]:
    cache = ClipCache(folder, spec, detector)
    return cache, prepare(cache, list(samples), workers=1)


def shards(folder: Path, half: str = "") -> set[Path]:
    return set(folder.glob(f"{half}*/*.arrow"))


def assert_same(one: Clip, other: Clip, heard_by: float = 1e-4) -> None:
    """Pixels within the error of JPEG, sound within that of int16, everything else equal."""
    assert one.path == other.path
    assert one.has_video == other.has_video
    if one.has_video:
        off = np.abs(one.frames.astype(int) - other.frames)
        assert off.max() <= OFF_BY
        assert np.array_equal(one.frame_times_s, other.frame_times_s)
    np.testing.assert_allclose(one.audio_spans_s, other.audio_spans_s, atol=1e-4)
    assert len(one.waveforms) == len(other.waveforms)
    for mine, theirs in zip(one.waveforms, other.waveforms, strict=True):
        assert mine.dtype == theirs.dtype
        assert abs(len(mine) - len(theirs)) <= 1
        both = min(len(mine), len(theirs))
        assert np.abs(mine[:both] - theirs[:both]).max() <= heard_by
    assert one.duration_s == other.duration_s
    assert one.warnings == other.warnings
