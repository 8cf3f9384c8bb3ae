"""What a label's score becomes when parts of a clip are hidden: frames, seconds, regions, a whole.

Whatever is hidden, the question is what ``predict`` would say of the clip that is left: the
checkpoint's own trimming, levels and repetition apply to what is covered or silenced too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import Clip, audible
from claip_emo.model.description import Modality
from claip_emo.model.scoring import NO_FRAMES, Array, ArrayEncoder
from claip_emo.model.stacking import Views, check_modalities, scores_of, views_of

Grid = NDArray[np.float64]
Present = NDArray[np.bool_]

GRID = 7  # places of the cover in each direction: as wide as a quarter, they overlap by half
COVER = 1 / 4  # of the side of a crop
COVERED_FRAMES = 3  # in which regions are covered: GRID * GRID passes of the vision tower for each
PIECE_S = 0.5  # of sound that is silenced at once, or more, so that there are
MOST_PIECES = 16  # passes of the audio tower
FADE_S = 0.01  # at both ends of a silence: a sudden one would be heard as a click


@dataclass(frozen=True, slots=True)
class Drops:
    """How far the label falls when something is hidden; negative: it rises.

    Probabilities saturate: of two parts that both speak for a label of 0.99, neither lowers it much
    alone. Their log-odds, log p - log (1 - p), still tell them apart.

    Attributes:
        probability: of the label, in any shape.
        log_odds: of the label, in the same shape.
    """

    probability: Grid
    log_odds: Grid

    def shaped(self, *shape: int) -> Drops:
        """Return the same in another shape."""
        return Drops(self.probability.reshape(shape), self.log_odds.reshape(shape))


class Hider:
    """Hides parts of one clip from a model, whose towers run again only for what is changed.

    Args:
        model: what scores.
        clip: what is scored.
        modality: what is left unmasked.

    Attributes:
        views: the clip's views, each distinct frame and stretch of sound once.
        scores: (classes,), what the model says of the whole clip.
        label: place of the most probable class.
        face: (view,), whether there is a picture that is used.
        voice: (view,), whether there is a sound that is used.
    """

    def __init__(self, model: ArrayEncoder, clip: Clip, modality: Modality):
        """Encode the clip.

        Raises:
            ModalityError: if the model does not read what is asked for.
        """
        check_modalities(model.config, (modality,))
        self.model, self.clip, self.modality = model, clip, modality
        self.views: Views = views_of([clip])
        self.face = self.views.has_video & ("v" in modality and model.config.reads_video)
        self.voice = self.views.has_audio & ("a" in modality and model.config.reads_audio)
        self._shown, self._heard = model.encode(
            self.views.frames if self.face.any() else NO_FRAMES,
            self.views.sounds if self.voice.any() else (),
        )
        views = len(self.face)
        self._video = np.zeros((views, model.widths["vision"]), np.float32)
        self._audio = np.zeros((views, model.widths["audio"]), np.float32)
        if self.face.any():
            self._video = model.over_time(self._shown[self.views.places])
        if self.voice.any():
            self._audio = self._heard[self.views.segment]
        self.scores = self._scored()[0]
        self.label = int(self.scores.argmax())

    @property
    def times_s(self) -> Grid:
        """When each distinct frame that is used is shown (frame,); its place where no one knows."""
        if not self.face.any():
            return np.zeros(0)
        places = self.views.places
        times = self.clip.frame_times_s
        found = np.zeros(places.max() + 1)
        found[places] = np.arange(places.size).reshape(places.shape) if times is None else times
        return found

    def attention(self) -> Grid | None:
        """Return how a temporal Transformer attends to each distinct frame, over all views.

        Returns:
            (frame,), with a sum of at most 1; None: there is none.
        """
        if not self.face.any():
            return None
        weights = self.model.attention(self._shown[self.views.places])
        if weights is None:
            return None
        summed = np.bincount(self.views.places.ravel(), weights.ravel())
        return summed / len(self.face)

    def whole(self) -> dict[str, tuple[float, float]]:
        """Score face and voice together, each alone, and nothing.

        Returns:
            Probability and log-odds of the label, by ``both``, ``face``, ``voice``, ``neither``.
        """
        face = np.array([1, 1, 0, 0], bool)[:, None] & self.face  # (case, view)
        voice = np.array([1, 0, 1, 0], bool)[:, None] & self.voice
        scores = self._scored(
            video=self._video * face[..., None],
            audio=self._audio * voice[..., None],
            face=face,
            voice=voice,
        )
        found = np.stack([scores[:, self.label], log_odds(scores, self.label)], axis=1).tolist()
        return dict(zip(("both", "face", "voice", "neither"), map(tuple, found), strict=True))

    def without_frames(self) -> Drops:
        """Hide each distinct frame: in its place there is the mean of the view's other features.

        Where frames are averaged that is the mean of the others, as if it had not been sampled. A
        Transformer keeps its number of tokens, and sees a face that is like the others, not
        a duplicate of a neighbour, which would count twice. A view that has no other frame is one
        without a picture.

        Returns:
            (frame,).
        """
        count = len(self.times_s)
        video = np.repeat(self._video[None], count, axis=0)  # (frame, view, width)
        face = np.repeat(self.face[None], count, axis=0)
        hidden: list[Array] = []
        where: list[tuple[int, int]] = []
        for view, places in enumerate(self.views.places if count else ()):
            for frame in np.unique(places):
                others = self._shown[places[places != frame]]
                if len(others):
                    own = (places == frame)[:, None]
                    hidden.append(np.where(own, others.mean(axis=0), self._shown[places]))
                    where.append((frame, view))
                else:
                    video[frame, view], face[frame, view] = 0, False
        if where:
            video[tuple(np.transpose(where))] = self.model.over_time(np.stack(hidden))
        return self._drops(self._scored(video=video, face=face))

    def pieces_s(self) -> Grid:
        """Divide the seconds that are heard into pieces (piece, 2): begin and end."""
        if not self.voice.any():
            return np.zeros((0, 2))
        rate = self.model.settings.sampling_rate_hz
        runs: list[list[float]] = []
        heard = zip(self.clip.audio_spans_s, self.clip.waveforms, strict=True)
        for begin, end in sorted({(span[0], span[0] + len(sound) / rate) for span, sound in heard}):
            if runs and begin <= runs[-1][1]:
                runs[-1][1] = max(end, runs[-1][1])
            else:
                runs.append([begin, end])
        step = max(PIECE_S, sum(end - begin for begin, end in runs) / MOST_PIECES)
        edges = [np.linspace(b, e, 1 + max(1, round((e - b) / step))) for b, e in runs]
        return np.concatenate([np.stack([edge[:-1], edge[1:]], axis=1) for edge in edges])

    def without_seconds(self, pieces_s: Grid) -> Drops:
        """Silence each piece of sound; where nothing audible is left, there is no sound.

        Args:
            pieces_s: (piece, 2), begin and end.

        Returns:
            (piece,).
        """
        audio = np.repeat(self._audio[None], len(pieces_s), axis=0)  # (piece, view, width)
        voice = np.repeat(self.voice[None], len(pieces_s), axis=0)
        sounds: list[Array] = []
        where: list[tuple[int, Present]] = []
        for segment, samples in enumerate(self.views.sounds if len(pieces_s) else ()):
            views = self.views.segment == segment
            begin_s = self.clip.audio_spans_s[int(views.argmax())][0]
            for piece, span in enumerate(pieces_s - begin_s):
                left = silenced(samples, span, self.model.settings.sampling_rate_hz)
                if left is samples:
                    continue
                if audible([left]):
                    sounds.append(left)
                    where.append((piece, views))
                else:
                    audio[piece, views], voice[piece, views] = 0, False
        _, heard = self.model.encode(sounds=sounds)
        for (piece, views), feature in zip(where, heard, strict=True):
            audio[piece, views] = feature
        return self._drops(self._scored(audio=audio, voice=voice))

    def without_regions(self, frames: Sequence[int]) -> Drops:
        """Cover each place of a grid, in several frames at once.

        Args:
            frames: places of distinct frames.

        Returns:
            (row, column), GRID of each.
        """
        chosen = np.array(frames)
        pictures = covered(self.views.frames[chosen])  # (place, frame, S, S, 3)
        shown, _ = self.model.encode(pictures.reshape(-1, *pictures.shape[2:]))
        changed = np.repeat(self._shown[None], len(pictures), axis=0)  # (place, frame, width)
        changed[:, chosen] = shown.reshape(len(pictures), len(chosen), -1)
        seen = changed[:, self.views.places]  # (place, view, time, width)
        video = self.model.over_time(seen.reshape(-1, *seen.shape[2:]))
        drops = self._drops(self._scored(video=video.reshape(*seen.shape[:2], -1)))
        return drops.shaped(GRID, GRID)

    def _scored(self, **changed: NDArray[Any]) -> Grid:
        """Score cases of the clip.

        Args:
            changed: in which they differ from it, of ``video`` and ``audio`` (case, view, width),
                ``face`` and ``voice`` (case, view).

        Returns:
            Probabilities (case, classes), of which ``predict`` has those of the clip as it is.
        """
        cases = max((len(part) for part in changed.values()), default=1)
        if not cases:
            return np.zeros((0, len(self.scores)))
        own = {"video": self._video, "audio": self._audio, "face": self.face, "voice": self.voice}
        flat = {
            name: np.concatenate(changed.get(name, np.broadcast_to(part, (cases, *part.shape))))
            for name, part in own.items()
        }  # each (case x view, ...)
        return scores_of(
            self.model.config,
            self.modality,
            self.model.fuse(flat["video"], flat["audio"]),
            has_video=flat["face"],
            has_audio=flat["voice"],
            clip=np.repeat(np.arange(cases), len(self.face)),
        ).probabilities

    def _drops(self, scores: Grid) -> Drops:
        """Compare (case, classes) with the clip as it is."""
        whole = self.scores[None]
        return Drops(
            whole[:, self.label] - scores[:, self.label],
            log_odds(whole, self.label) - log_odds(scores, self.label),
        )


def log_odds(scores: Grid, label: int) -> Grid:
    """Return log p - log (1 - p) of a label, exact also where p rounds to 1.

    Args:
        scores: (case, classes).
        label: place of the class.
    """
    tiny = np.finfo(np.float64).tiny
    others = np.delete(scores, label, axis=1).sum(axis=1)
    return np.log(np.maximum(scores[:, label], tiny)) - np.log(np.maximum(others, tiny))


def silenced(samples: Array, span_s: Sequence[float], rate_hz: int) -> Array:
    """Return sound (samples,) that is silent from a second to another one; itself where it is."""
    begin, end = (round(second * rate_hz) for second in span_s)
    begin, end = max(begin, 0), min(end, len(samples))
    if begin >= end:
        return samples
    fade = min(round(FADE_S * rate_hz), (end - begin) // 2)
    down = np.linspace(1, 0, fade, dtype=np.float32)
    left = samples.copy()
    left[begin:end] = 0
    if begin > 0:
        left[begin : begin + fade] = samples[begin : begin + fade] * down
    if end < len(samples):
        left[end - fade : end] = samples[end - fade : end] * down[::-1]
    return left


def covers(size_px: int) -> NDArray[np.int64]:
    """Return begin and end (GRID, 2), in px, of the cover's places along one side."""
    side = max(1, round(COVER * size_px))
    begins = np.linspace(0, size_px - side, GRID).round().astype(np.int64)
    return np.stack([begins, begins + side], axis=1)


def covered(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cover each place of a grid with the mean colour of the crop.

    Args:
        frames: (frame, S, S, 3).

    Returns:
        (GRID * GRID, frame, S, S, 3), row by row.
    """
    mean = frames.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    pictures = np.repeat(frames[None], GRID * GRID, axis=0)
    places = product(covers(frames.shape[1]), covers(frames.shape[2]))
    for picture, ((top, bottom), (left, right)) in zip(pictures, places, strict=True):
        picture[:, top:bottom, left:right] = mean
    return pictures
