"""Stretches of time while they pass: crops become features, features windows, windows scores."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.abstention import Abstention
from claip_emo.inference.timeline_result import ScoredWindow, Stretch, segments_of
from claip_emo.inference.voice import Voice
from claip_emo.inference.windows import Window, Windower, curve_of
from claip_emo.media.appearance import Gallery
from claip_emo.media.following import Box, Track
from claip_emo.media.picture import Frame
from claip_emo.model.description import Modality
from claip_emo.model.scoring import ArrayEncoder
from claip_emo.model.stacking import scores_of

CROPS_AT_ONCE = 32
WINDOWS_AT_ONCE = 32


class Passage:
    """One person in sight, or the whole picture, while it goes on.

    Args:
        track: of the face; None: the whole picture is shown.
        windower: cuts its windows; None: there is no picture.
    """

    def __init__(self, track: Track | None, windower: Windower | None):
        """Begin without anything."""
        self.track, self.windower = track, windower
        self.gallery = track.gallery if track is not None else Gallery()
        self.windows: list[ScoredWindow] = []
        self.times_s: list[float] = []
        self.boxes_px: list[Box] = []
        self.scale = 1.0  # of the pictures that faces were sought in

    @property
    def span_s(self) -> tuple[float, float]:
        """When it was seen first and last."""
        return self.times_s[0], self.times_s[-1]

    def stretch(
        self, labels: tuple[str, ...], abstention: Abstention, window_s: float, hop_s: float
    ) -> Stretch:
        """Return what was found, once all of it was scored."""
        spans = np.array([(window.start_s, window.end_s) for window in self.windows])
        scores = np.stack([window.scores for window in self.windows])
        curve = curve_of(spans, scores, hop_s)
        return Stretch(
            start_s=float(spans[:, 0].min()),
            end_s=float(spans[:, 1].max()),
            windows=tuple(self.windows),
            curve=curve,
            segments=segments_of(curve, self.windows, labels, abstention, window_s),
            times_s=np.array(self.times_s),
            boxes_px=np.stack(self.boxes_px) if self.boxes_px else None,
        )


class Scorer:
    """Lets the towers run once for each crop, some at a time, and scores windows of any passage.

    Args:
        model: encodes crops, and turns features into logits.
        voice: what was heard; windows take the piece of it that is nearest.
        modality: what is left unmasked.
        abstention: says which windows are named ``uncertain``.
    """

    def __init__(
        self, model: ArrayEncoder, voice: Voice, modality: Modality, abstention: Abstention
    ):
        """Begin without anything to do."""
        self._model, self._voice, self._modality = model, voice, modality
        self._abstention, self._labels = abstention, model.config.label_set.names
        self._crops: list[tuple[Passage, float, Frame | None]] = []
        self._windows: list[tuple[Passage, Window]] = []
        self._frames = 0

    def see(self, passage: Passage, time_s: float, crop: Frame) -> None:
        """Take the next crop of a passage, (S, S, 3)."""
        self._crops.append((passage, time_s, crop))
        self._frames += 1
        if self._frames >= CROPS_AT_ONCE:
            self._encode()

    def end(self, passage: Passage, end_s: float) -> None:
        """Note that a passage is over."""
        self._crops.append((passage, end_s, None))

    def score(self, passage: Passage, windows: Iterable[Window]) -> None:
        """Take windows to score."""
        self._windows += [(passage, window) for window in windows]
        while len(self._windows) >= WINDOWS_AT_ONCE:
            self._score_some()

    def finish(self) -> None:
        """Do all that is left."""
        self._encode()
        while self._windows:
            self._score_some()

    def _encode(self) -> None:
        crops = [crop for _, _, crop in self._crops if crop is not None]
        features = iter(self._model.encode(np.stack(crops))[0]) if crops else iter(())
        for passage, time_s, crop in self._crops:
            windower = passage.windower
            assert windower is not None  # what has no picture has no crops
            over = crop is None
            self.score(
                passage, windower.finish(time_s) if over else windower.add(time_s, next(features))
            )
        self._crops, self._frames = [], 0

    def _score_some(self) -> None:
        some, self._windows = (
            self._windows[:WINDOWS_AT_ONCE],
            self._windows[WINDOWS_AT_ONCE:],
        )
        seen = np.array([len(window.frames) > 0 for _, window in some])
        heard, there = self._voice.near(np.array([window.centre_s for _, window in some]))
        video = np.zeros((len(some), self._model.widths["vision"]), np.float32)
        if seen.any():
            video[seen] = self._model.over_time(
                np.stack([window.frames for _, window in some if len(window.frames)])
            )
        for (passage, window), row, voice in zip(
            some, self._probabilities(video, heard, seen, there), there, strict=True
        ):
            used = (("video", len(window.frames) > 0), ("audio", bool(voice)))
            modalities = tuple(name for name, present in used if present)
            label = self._abstention.label(self._labels, row, modalities)
            passage.windows.append(
                ScoredWindow(window.start_s, window.end_s, label, row, modalities)
            )

    def _probabilities(
        self,
        video: NDArray[np.float32],
        audio: NDArray[np.float32],
        seen: NDArray[np.bool_],
        there: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """Score features of windows (window, width) as ``score_clips`` scores those of clips."""
        return scores_of(
            self._model.config,
            self._modality,
            self._model.fuse(video, audio),
            has_video=seen,
            has_audio=there,
            clip=np.arange(len(video)),
        ).probabilities
