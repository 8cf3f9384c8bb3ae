"""Labelled clips become the logits of their views, by what is there of them: face, voice, both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from claip_emo.corpora.base import Corpus
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation import processes
from claip_emo.evaluation.evaluate import score_corpus
from claip_emo.evaluation.intake import readable
from claip_emo.evaluation.run import progress_task
from claip_emo.media.faces import FaceDetector
from claip_emo.metrics import softmax
from claip_emo.model.batching import score
from claip_emo.model.description import Modality
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import Scores, mean_by_clip, there_of

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ViewLogits:
    """Logits of labelled clips, all scored with the same: face and voice, or one of them.

    Attributes:
        logits: (view, class), shifted, not yet divided by a temperature.
        clip: (view,), the place of each view's clip.
        truth: (clip,), class indices.
        groups: (clip,), such as their speakers; None: not every clip names one.
    """

    logits: Array
    clip: NDArray[np.int64]
    truth: NDArray[np.int64]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.truth)

    def scores(self, temperature: float | Array) -> Array:
        """Return scores (clip, class) as the model gives them: the mean over a clip's views.

        Args:
            temperature: of all clips, or of each (clip,).
        """
        divisor = np.broadcast_to(temperature, len(self))[self.clip]  # (view,)
        return mean_by_clip(softmax(self.logits / divisor[:, None]), self.clip)

    def take(self, clips: NDArray[np.int64]) -> ViewLogits:
        """Return some of the clips, given in rising order."""
        views = np.flatnonzero(np.isin(self.clip, clips))
        place = np.searchsorted(clips, self.clip[views])
        groups = None if self.groups is None else tuple(self.groups[clip] for clip in clips)
        return ViewLogits(self.logits[views], place, self.truth[clips], groups)


def gather_logits(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    corpus: Corpus,
    wanted: Sequence[Modality],
    detector: FaceDetector | None,
    bar: Progress,
    *,
    missing: Literal["error", "skip"],
    batch_size: int,
    workers: int,
) -> dict[Modality, ViewLogits]:
    """Score clips with all that is wanted, running the towers once.

    Args:
        model: what scores.
        processor: of the model.
        corpus: the clips.
        wanted: what is left unmasked; each has the clips in which all of it is there.
        detector: finds faces; None: clips are cropped already.
        bar: where progress is shown.
        missing: what is done about clips that cannot be read.
        batch_size: clips per batch.
        workers: decoding processes.

    Raises:
        CorpusError: naming every clip that cannot be read, unless they are to be left out.
    """
    config = model.config
    own: dict[Modality, dict[str, Array]] = {there: {} for there in wanted}

    def scorer(batch: dict[str, Any], asked: Sequence[Modality]) -> dict[Modality, Scores]:
        clip, every_view = batch["clip"].numpy(), torch.arange(len(batch["clip"]))
        found = score(model, processor, {**batch, "clip": every_view}, asked)  # view by view
        has = [batch[name].numpy() for name in ("has_video", "has_audio")]
        for there in asked:
            for place in np.unique(clip[there_of(config, there, *has)[there]]):
                own[there][batch["ids"][place]] = found[there].logits[clip == place]
        return {
            there: Scores(mean_by_clip(s.logits, clip), mean_by_clip(s.probabilities, clip))
            for there, s in found.items()
        }

    share = len(corpus.samples[processes.rank() :: processes.count()])
    corpus = readable(corpus, missing, progress=progress_task(bar, "Opening clips", share))
    asked_for = "".join(wanted)
    spec = processor.clip_spec(video="v" in asked_for, audio="a" in asked_for)
    dataset = ClipDataset(corpus, spec, detector)
    score_corpus(
        dataset, scorer, modalities=wanted, batch_size=batch_size, workers=workers,
        progress=progress_task(bar, "Scoring", len(dataset)),
    )  # fmt: skip
    parts = processes.gather(own)
    return {
        there: _joined(corpus, {name: v for part in parts for name, v in part[there].items()})
        for there in wanted
    }


def _joined(corpus: Corpus, logits: dict[str, Array]) -> ViewLogits:
    """Put the logits of views in the order of their clips."""
    samples = [sample for sample in corpus if sample.id in logits]
    groups = [sample.speaker or sample.extra.get("group") for sample in samples]
    views = [logits[sample.id] for sample in samples]
    return ViewLogits(
        np.concatenate([*views, np.empty((0, len(corpus.labels)))]),
        np.repeat(np.arange(len(samples)), [len(v) for v in views]),
        np.array([corpus.labels.index_of(sample.label) for sample in samples], np.int64),
        tuple(map(str, groups)) if all(groups) else None,
    )
