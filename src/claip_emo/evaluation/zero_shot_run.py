"""The zero-shot baseline on labelled clips: as a run of its own, or beside a trained one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation import processes
from claip_emo.evaluation.evaluate import (
    evaluate_corpus,
    predict,
    write_run,
)
from claip_emo.evaluation.intake import facts_of, known_to, read_part
from claip_emo.evaluation.run import describe_run
from claip_emo.evaluation.zero_shot import FACE_WEIGHT, ZERO_SHOT, ZeroShotModel, roles_of
from claip_emo.labels import LabelError, LabelSet
from claip_emo.model.backbones import BackboneError, resolve
from claip_emo.model.devices import pick_device
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.prompts import TEMPLATES
from claip_emo.recipe import DataRecipe

logger = logging.getLogger(__name__)


def evaluate_zero_shot(
    data: DataRecipe,
    out: Path,
    *,
    source: str | Path | None = None,
    backbone: str | None = None,
    labels: Sequence[str] | None = None,
    face_weight: float = FACE_WEIGHT,
    split: str | None = None,
    device: str = "auto",
    **settings: Any,
) -> dict[str, Any]:
    """Score the zero-shot baseline on a table or corpus and write the results as a run's folder.

    Args:
        data: the table, or the published corpus, where it lies, and which fold of it.
        out: folder for predictions, metrics and report.
        source: a checkpoint, whose labels, processor and unadapted towers are taken.
        backbone: the name of a backbone, where there is no checkpoint.
        labels: the classes, with a backbone; None: those of the clips.
        face_weight: weight of the face against the voice.
        split: the part that is scored; None: every row of a table, the test part of a corpus.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        settings: the others of ``evaluate_corpus``.

    Returns:
        The content of ``metrics.json``; of several processes the first has it.

    Raises:
        ValueError: if not exactly one of source and backbone is given, or labels with a source.
        CheckpointError: if there is no checkpoint.
        LanguageError: if the towers have no text encoders.
        CorpusError: if the corpus cannot be used, or has other labels than the checkpoint.
        DeviceError: if there is no such device.
    """
    if (source is None) == (backbone is None) or (labels and source is not None):
        raise ValueError("Zero-shot takes a checkpoint, or a backbone and perhaps labels.")
    processes.join(device)
    with processes.first_goes_first():
        if source is not None:
            model = ZeroShotModel.from_checkpoint(source, face_weight)
            processor = ClaipEmoProcessor.from_pretrained(source)
            own = model.config.label_set
            corpus = known_to(own, read_part(data, split, own))
        else:
            found = resolve(str(backbone))
            wanted = LabelSet(labels) if labels else None
            corpus = read_part(data, split, wanted)
            corpus = known_to(wanted, corpus) if wanted else corpus
            model = ZeroShotModel.from_backbone(found, corpus.labels, face_weight)
            processor = ClaipEmoProcessor.for_backbone(found)
    facts = facts_of(data) | describe(model)
    facts["title"] = f"{facts['title']}, {ZERO_SHOT}"
    return evaluate_corpus(
        model.to(pick_device(device)),
        processor,
        corpus,
        out,
        facts,
        missing=data.missing,
        **settings,
    )


def score_beside(
    run: Path, facts: dict[str, Any], dataset: ClipDataset, device: torch.device, workers: int
) -> bool:
    """Score the baseline on the test part of a run, in ``RUN/zero-shot``; say whether it could be.

    Towers without text encoders have no such baseline; a run does not fail for that.

    Args:
        run: the run's folder, with its checkpoint.
        facts: of the run; the baseline's page says the same of the clips.
        dataset: the test part.
        device: where the towers run.
        workers: decoding processes.
    """
    try:
        model = ZeroShotModel.from_checkpoint(run)
        processor = ClaipEmoProcessor.from_pretrained(run)
    except (BackboneError, LabelError) as error:  # a LanguageError is a BackboneError
        logger.info("There is no zero-shot baseline: %s", error)
        return False
    rows = predict(model.to(device), processor, dataset, workers=workers)
    if processes.is_first():
        kept = ("corpus", "corpus_name", "corpus_variant", "corpus_note", "fold", "command")
        told = {name: facts[name] for name in kept if name in facts} | describe(model)
        told |= {"title": f"{facts['title']}, {ZERO_SHOT}", "counts": {"test": len(dataset)}}
        write_run(run / ZERO_SHOT, rows, dataset, describe_run(model, **{"command": None} | told))
    return True


def describe(model: ZeroShotModel) -> dict[str, Any]:
    """Return what ``run.json`` says of the baseline besides what it says of every model."""
    random = [r for r in roles_of(model.config) if not getattr(model.config, f"{r}_source")]
    note = (
        f"The towers of {model.config.backbone} have random weights: these scores say that the way "
        "works, and nothing about CLIP and CLAP."
    )
    return ({"corpus_note": note} if random else {}) | {
        "adaptation": ZERO_SHOT,
        "face_weight": model.face_weight,
        "prompts": {role: list(TEMPLATES[role]) for role in roles_of(model.config)},
    }
