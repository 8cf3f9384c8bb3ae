"""Labelled clips become batches of uint8 frames and waveforms: the loader only decodes.

Which window of a clip is drawn comes from a generator seeded by (seed, epoch, sample), never from a
global one, so that an interrupted run that goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from claip_emo.corpora.base import Corpus, CorpusError, OnProgress, Sample
from claip_emo.data.cache import ClipCache
from claip_emo.data.shards import DamagedShardError
from claip_emo.media.clip import Clip, ClipSpec, load_clip
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector
from claip_emo.media.recording import Recording, load_recording
from claip_emo.model.batching import stack

PAIRING = 0x9A12  # tells the draw of a pair from that of a window


class Draw(NamedTuple):
    """One draw of a sample: in which epoch, and which."""

    epoch: int
    index: int


class LabelledClip(NamedTuple):
    """A clip, the place of its label, and who it is."""

    clip: Clip
    label: int
    sample: Sample


class ClipDataset(Dataset[LabelledClip]):
    """The clips of one part of a corpus.

    Indexed by ``Draw`` it returns a training window, by a plain int the test views.

    Args:
        corpus: the samples and the label set.
        spec: what is taken from each file.
        detector: how faces are found; None for clips that are cropped already.
        seed: seed of the training windows.
        cache: where clips are prepared for this spec and detector; what is not there is read from
            its file.
        new_pairs: whether a training window takes its sound from another clip of the same label,
            drawn anew in every epoch.
    """

    def __init__(
        self,
        corpus: Corpus,
        spec: ClipSpec,
        detector: FaceDetector | None,
        seed: int = 0,
        cache: ClipCache | None = None,
        *,
        new_pairs: bool = False,
    ):
        """Take the corpus; no clip is read before the first access or ``remember``."""
        self.corpus = corpus
        self.spec = spec
        self.detector = detector
        self.seed = seed
        self.cache = cache
        if cache is not None:
            cache.look(corpus.samples)
        self._labels = [corpus.labels.index_of(sample.label) for sample in corpus.samples]
        self._of_label = [
            np.flatnonzero(np.equal(self._labels, n)) for n in range(len(corpus.labels))
        ]
        self.new_pairs = new_pairs
        self.recordings: dict[int, Recording] = {}
        self._clips: dict[int, Clip] = {}
        # A clip that lacks the one modality that is asked for is read whole: it is a normal sample,
        # whose missing modality the model takes for zeros.
        self._whole = replace(spec, video=True, audio=True)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.corpus.samples)

    @property
    def label_indices(self) -> list[int]:
        """The place of each clip's label, in the order of the corpus."""
        return self._labels

    def remember(
        self, *, for_training: bool, threads: int = 2, progress: OnProgress | None = None
    ) -> None:
        """Decode every clip once and keep it: recordings for training, else test views.

        Raises:
            CorpusError: naming every clip that cannot be read.
        """
        problems: list[str] = []

        def read(index: int) -> None:
            sample = self.corpus.samples[index]
            options = {"detector": self.detector, "audio_path": sample.audio_path}
            try:
                if for_training:
                    self.recordings[index] = self.read(load_recording, sample.path, **options)
                else:
                    self._clips[index] = self.read(load_clip, sample.path, **options)
            except MediaError as error:
                problems.append(str(error))

        with ThreadPoolExecutor(max(1, threads)) as pool:
            for done, _ in enumerate(pool.map(read, range(len(self))), start=1):
                if progress is not None:
                    progress(done, len(self))
        if problems:
            raise CorpusError(problems)

    def __getitem__(self, key: Draw | int) -> LabelledClip:
        """Return a training window (``Draw``) or the test views (int) of a clip.

        Raises:
            MediaError: if the file yields nothing.
        """
        draw = key if isinstance(key, Draw) else None
        index = key.index if isinstance(key, Draw) else int(key)
        sample = self.corpus.samples[index]
        clip = self._clips.get(index) if draw is None else None
        clip = clip or self._clip(index, draw)
        if draw is not None and self.new_pairs:
            clip = self._with_another_voice(clip, draw)
        return LabelledClip(clip, self._labels[index], sample)

    def _with_another_voice(self, clip: Clip, draw: Draw) -> Clip:
        """Put the sound of a clip of the same label beside the picture of this one."""
        others = self._of_label[self._labels[draw.index]]
        rng = np.random.default_rng((self.seed, *draw, PAIRING))
        other = int(others[rng.integers(len(others))])
        voice = self._clip(other, Draw(draw.epoch, other))
        if not (clip.has_video and voice.has_audio):
            return clip
        return replace(clip, waveforms=voice.waveforms, audio_spans_s=voice.audio_spans_s)

    def _clip(self, index: int, draw: Draw | None) -> Clip:
        sample = self.corpus.samples[index]
        try:
            recording = self.recordings.get(index)
            if recording is None and self.cache is not None:
                recording = self.cache.recording(sample)
            if recording is not None:
                clip = self._cut(recording, self.spec, draw)
                return clip if clip.num_views else self._cut(recording, self._whole, draw)
        except DamagedShardError as error:
            self.cache.set_aside(error)
        options = {"detector": self.detector, "audio_path": sample.audio_path}
        return self.read(load_clip, sample.path, **options, rng=self._rng(draw))

    def _cut(self, recording: Recording, spec: ClipSpec, draw: Draw | None) -> Clip:
        rng = self._rng(draw)
        return recording.test_clip(spec) if rng is None else recording.window(spec, rng)

    def _rng(self, draw: Draw | None) -> np.random.Generator | None:
        return np.random.default_rng((self.seed, *draw)) if draw is not None else None

    def read(self, load: Callable[..., Any], path: Path, **options: Any) -> Any:
        """Read a clip by the spec, or whole where it has nothing of what the spec asks for."""
        try:
            return load(path, self.spec, **options)
        except MediaError:
            if self.spec == self._whole:
                raise
            return load(path, self._whole, **options)


def collate(items: Sequence[LabelledClip]) -> dict[str, Any]:
    """Stack clips (see ``model.batching.stack``) with ``labels`` (batch,) and their ``ids``."""
    batch: dict[str, Any] = dict(stack([item.clip for item in items]))
    batch["labels"] = torch.tensor([item.label for item in items])
    batch["ids"] = [item.sample.id for item in items]
    return batch


class DrawSampler(Sampler[Draw]):
    """The order of an epoch: a permutation, or draws even over classes, seeded by (seed, epoch).

    Args:
        labels: place of each clip's label.
        seed: seed of the order.
        balanced: draw with replacement, every class equally often.
    """

    def __init__(self, labels: Sequence[int], seed: int, *, balanced: bool = False):
        """Take the labels; ``epoch`` is set by who trains."""
        self.labels = np.asarray(labels)
        self.seed = seed
        self.balanced = balanced
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of draws in an epoch."""
        return len(self.labels)

    def order(self) -> NDArray[np.int64]:
        """Return the indices of the current epoch in order."""
        rng = np.random.default_rng((self.seed, self.epoch, 0x5A3B))
        if not self.balanced:
            return rng.permutation(len(self.labels))
        weights = 1.0 / np.bincount(self.labels)[self.labels]
        return rng.choice(len(self.labels), len(self.labels), p=weights / weights.sum())

    def __iter__(self) -> Iterator[Draw]:
        """Yield the draws of the current epoch."""
        return iter([Draw(self.epoch, int(index)) for index in self.order()])
