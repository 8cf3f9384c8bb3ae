"""A model of one corpus on the clips of another: which are scored, and by which scores.

Clips of a class that the model does not know are left out and counted. Scores of classes that the
clips do not have are dropped, scores of classes that count as the same one are added, and the rest
is divided by its sum: for a clip of one view that is the softmax over the remaining logits. Where
views were averaged it is done to their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claip_emo.corpora.base import Corpus, CorpusError
from claip_emo.labels import Projection
from claip_emo.metrics import softmax
from claip_emo.model.description import Modality
from claip_emo.model.stacking import Scores

Scorer = Callable[[dict[str, Any], Sequence[Modality]], dict[Modality, Scores]]


def project_corpus(corpus: Corpus, projection: Projection) -> tuple[Corpus, dict[str, Any]]:
    """Leave out the clips whose class the model does not know.

    Args:
        corpus: its labels are the projection's target.
        projection: from the model's classes to the corpus's.

    Returns:
        The corpus over the classes that both have, and what a report says of it (the
        ``projection`` of ``run.json``).

    Raises:
        CorpusError: if no clip is left.
    """
    shared = projection.labels
    kept = tuple(sample for sample in corpus.samples if sample.label in shared)
    gone = [sample.label for sample in corpus.samples if sample.label not in shared]
    if not kept:
        raise CorpusError(
            [f"No clip has a label that the model knows; both know {', '.join(shared)}."]
        )
    told = describe_projection(projection, scored=len(kept), excluded=gone)
    return replace(corpus, labels=shared, samples=kept), told


def projected_scorer(scorer: Scorer, projection: Projection) -> Scorer:
    """Return a scorer whose columns are the classes that model and clips both have."""

    def scores_of(batch: dict[str, Any], modalities: Sequence[Modality]) -> dict[Modality, Scores]:
        return {
            modality: Scores(*project_scores(found.logits, found.probabilities, projection))
            for modality, found in scorer(batch, modalities).items()
        }

    return scores_of


def project_scores(
    logits: NDArray[np.floating], scores: NDArray[np.floating], projection: Projection
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take scores over the model's classes to the classes that both have.

    Args:
        logits: (row, class of the model).
        scores: (row, class of the model), rows sum to 1.
        projection: from the model's classes to those of the clips.

    Returns:
        Logits (row, shared class), log-sum-exp over classes that count as one; scores (row, shared
        class), rows sum to 1. A row whose scores are all on dropped classes, as far as they can be
        told from 0, has the softmax of its logits.
    """
    places = [
        [place for place, name in enumerate(projection.source) if projection.counts_as[name] == to]
        for to in projection.labels
    ]  # of the model's columns that become one
    wide = np.asarray(logits, np.float64)
    shared = np.stack([np.logaddexp.reduce(wide[:, of], axis=1) for of in places], axis=1)
    summed = np.stack([np.asarray(scores, np.float64)[:, of].sum(axis=1) for of in places], axis=1)
    total = summed.sum(axis=1, keepdims=True)
    tellable = total > np.finfo(np.float32).tiny
    renormalised = np.divide(summed, total, out=np.zeros_like(summed), where=tellable)
    return shared, np.where(tellable, renormalised, softmax(shared))


def describe_projection(
    projection: Projection, *, scored: int, excluded: Iterable[str]
) -> dict[str, Any]:
    """Return what ``run.json`` keeps of a projection, for the report to say.

    Args:
        projection: from the model's classes to those of the clips.
        scored: clips that are left.
        excluded: the label of each clip that was left out.
    """
    counts: dict[str, int] = {}
    for label in excluded:
        counts[label] = counts.get(label, 0) + 1
    return {
        "model_classes": list(projection.source),
        "clip_classes": list(projection.target),
        "counts_as": dict(projection.counts_as),
        "dropped": list(projection.dropped),
        "scored": scored,
        "excluded": dict(sorted(counts.items())),
        "n_excluded": sum(counts.values()),
    }
