"""How frequent the classes are where a model is used: a correction of its logits, chosen on clips.

A model that learned from as many clips of each class, or whose loss weighed them so, expects as
many. Where neutral faces are ten times as frequent as disgusted ones, adding s log p to the logits,
p being the classes' shares,
tells it so (Saerens et al. 2002); with s = 1 it would be right if its logits were log
probabilities, and s is chosen on clips that were not trained on.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from claip_emo.corpora.base import CorpusError
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation import processes
from claip_emo.evaluation.evaluate import score_corpus
from claip_emo.evaluation.intake import known_to, read_part, readable
from claip_emo.evaluation.run import progress_bar, progress_task
from claip_emo.media.faces import make_detector
from claip_emo.metrics import summarise
from claip_emo.model.batching import score
from claip_emo.model.checkpoint_folder import (
    copy_checkpoint,
    refuse_to_replace,
    resolve,
    rewrite_config,
    written_whole,
)
from claip_emo.model.description import READS, Modality, ModalityError
from claip_emo.model.devices import pick_device
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import Scores
from claip_emo.recipe import DataRecipe

logger = logging.getLogger(__name__)

STRENGTHS = tuple(round(0.1 * step, 1) for step in range(16))  # of the correction; 0: none
WAR_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Strength:
    """What a strength of the correction leads to on the clips that choose.

    ``worth`` is what the best has most of: a mean of WAR and UAR, weighted.
    """

    strength: float
    war: float
    uar: float
    worth: float


@dataclass(frozen=True, slots=True)
class Correction:
    """What was chosen, and all that it was chosen from."""

    chosen: Strength
    tried: list[Strength]


def strengths_of(
    logits: NDArray[np.floating],
    truth: NDArray[np.int64],
    strengths: Sequence[float],
    war_weight: float = WAR_WEIGHT,
) -> list[Strength]:
    """Return WAR and UAR under each strength, and what it is worth.

    Args:
        logits: (clip, class).
        truth: (clip,), class indices; every class is among them.
        strengths: s of s log p.
        war_weight: of WAR in what a strength is worth, between 0 and 1; UAR has the rest.
    """
    prior = log_shares(truth, logits.shape[1])
    found = []
    for strength in strengths:
        said = (logits + strength * prior).argmax(axis=1)
        summary = summarise(truth, said, logits.shape[1])
        worth = war_weight * summary.war + (1 - war_weight) * summary.uar
        found.append(Strength(strength, summary.war, summary.uar, worth))
    return found


def log_shares(truth: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the logarithm of each class's share (class,)."""
    counts = np.bincount(truth, minlength=classes)
    return np.log(counts / counts.sum())


def correct(
    source: str | Path,
    data: DataRecipe,
    out: Path,
    modality: Modality,
    *,
    war_weight: float = WAR_WEIGHT,
    split: str | None = None,
    face_detector: str | None = None,
    face_model: Path | None = None,
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
) -> Correction:
    """Choose the correction's strength on labelled clips, and write the corrected checkpoint.

    Args:
        source: a run's folder, its ``model/``, or a hub id.
        data: the table of the clips; their labels tell how frequent the classes are.
        out: folder that is written, whole or not at all.
        modality: what the correction is for: clips with both, with a face alone, with a voice
            alone. The other of a clip that has both is masked; clips that lack what is asked for
            are left out.
        war_weight: of WAR in what is maximised, between 0 and 1; UAR has the rest.
        split: part of the table; None: every row.
        face_detector: overrides the checkpoint's.
        face_model: YuNet's model file.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        batch_size: clips per batch.
        workers: decoding processes.

    Raises:
        CheckpointError: if there is no checkpoint.
        CorpusError: if the clips cannot be used, none has what is asked for, or a class has none.
        FileExistsError: if ``out`` is there and holds no checkpoint.
        ModalityError: if the model does not read what is asked for.
    """
    processes.join(device)
    with processes.first_goes_first():
        folder = resolve(source)
        refuse_to_replace(out, folder)
        out.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before work
        if not os.access(out.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "the folder cannot be written into", out.parent)
        model = ClaipEmoModel.from_pretrained(folder).to(pick_device(device))
        if modality not in model.config.modalities:
            raise ModalityError(
                f"This model reads {READS[model.config.modality]} only; it has no scores of "
                f"{READS[modality]}."
            )
        processor = ClaipEmoProcessor.from_pretrained(folder)
        labels = model.config.label_set
        corpus = known_to(labels, read_part(data, split, labels))
        _check_classes(corpus.counts())
        detector = None
        if "v" in modality:
            detector = make_detector(face_detector or processor.settings.face_detector, face_model)
    former = dict(model.config.logit_shift or {})
    others = {there: shift for there, shift in former.items() if there != modality}
    model.config.logit_shift = others
    spec = processor.clip_spec(video="v" in modality, audio="a" in modality)
    lacking: list[str] = []

    def scorer(batch: dict[str, Any], wanted: Sequence[Modality]) -> dict[Modality, Scores]:
        lacking.extend(_lacking(batch, modality))
        return score(model, processor, batch, wanted)

    with progress_bar(processes.speaking(None)) as bar:
        share = len(corpus.samples[processes.rank() :: processes.count()])
        opening = progress_task(bar, "Opening clips", share)
        corpus = readable(corpus, data.missing, progress=opening)
        dataset = ClipDataset(corpus, spec, detector)
        model.merge().eval()
        rows = score_corpus(
            dataset, scorer, modalities=(modality,), batch_size=batch_size, workers=workers,
            progress=progress_task(bar, "Scoring", len(dataset)),
        )  # fmt: skip
    without = {name for part in processes.gather(lacking) for name in part}
    rows = rows.take([row for row, name in enumerate(rows.ids) if name not in without])
    if not len(rows):
        raise CorpusError([f"No clip has {READS[modality]}; name another --modality."])
    if without:
        logger.warning("%d clips without %s are left out.", len(without), READS[modality])
    counts = np.bincount(rows.label_index, minlength=len(labels)).tolist()
    _check_classes(dict(zip(labels, counts, strict=True)))
    tried = strengths_of(rows.logits, rows.label_index, STRENGTHS, war_weight)
    best = max(tried, key=lambda found: found.worth)
    shift = best.strength * log_shares(rows.label_index, len(labels))
    told = {**others, modality: [round(v, 4) for v in shift.tolist()]}
    if processes.is_first():
        write_shifted(folder, out, told)
    processes.wait()
    return Correction(best, tried)


def _lacking(batch: dict[str, Any], modality: Modality) -> list[str]:
    """Return the ids of the clips of a batch in which what is asked for is not there."""
    there = batch["has_video"] | torch.tensor("v" not in modality)
    there = there & (batch["has_audio"] | torch.tensor("a" not in modality))
    return [batch["ids"][clip] for clip in batch["clip"][~there].unique().tolist()]


def _check_classes(counts: Mapping[str, int]) -> None:
    if missing := [name for name, count in counts.items() if not count]:
        raise CorpusError(
            [
                f"There is no clip of {', '.join(missing)}: how frequent a class is cannot be told "
                "from clips that lack it."
            ]
        )


def write_shifted(folder: Path, out: Path, shift: Mapping[str, Sequence[float]] | None) -> None:
    """Copy a checkpoint with another ``logit_shift``, whole or not at all.

    Args:
        folder: the checkpoint.
        out: the copy.
        shift: what is added to logits, by what is there of a clip.
    """
    with written_whole(out) as partial:
        copy_checkpoint(folder, partial)
        rewrite_config(partial, {"logit_shift": shift})
