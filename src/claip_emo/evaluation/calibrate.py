"""A checkpoint and labelled clips become a calibrated checkpoint, and evidence of what it gained.

What is told of it is held out: of other clips, or of each clip under what was fitted without it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from claip_emo.corpora.base import Corpus, CorpusError, Sample
from claip_emo.corpora.table import SPLIT_NAMES
from claip_emo.evaluation import processes
from claip_emo.evaluation.calibration import (
    FEWEST_CLIPS,
    TEMPERATURES,
    Fit,
    evidence,
    fit,
    obstacle,
)
from claip_emo.evaluation.calibration_page import write_calibration
from claip_emo.evaluation.intake import known_to, read_part
from claip_emo.evaluation.report import write_report
from claip_emo.evaluation.run import commit, progress_bar
from claip_emo.evaluation.view_logits import ViewLogits, gather_logits
from claip_emo.labels import LabelSet
from claip_emo.media.faces import make_detector
from claip_emo.model.checkpoint_folder import (
    CALIBRATION,
    CheckpointError,
    copy_checkpoint,
    packaged,
    refuse_to_replace,
    resolve,
    rewrite_config,
    written_whole,
)
from claip_emo.model.description import READS, Described, Modality, ModalityError
from claip_emo.model.devices import pick_device
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import DataRecipe

logger = logging.getLogger(__name__)

FEW_CLIPS = 100  # under which a fit is uncertain


def calibrate(
    source: str | Path | None,
    data: DataRecipe,
    *,
    split: str | None = None,
    held_out: str | None = None,
    modalities: Sequence[Modality] | None = None,
    abstain_target: float = 0.9,
    out: Path | None = None,
    report: Path | None = None,
    seed: int = 0,
    face_detector: str | None = None,
    face_model: Path | None = None,
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
    command: str | None = None,
) -> dict[str, Any]:
    """Fit a temperature for both and each alone on labelled clips, and store it.

    Args:
        source: a run's folder, its ``model/``, or a hub id; None: the model in the box.
        data: the table of the clips, which were not trained on.
        split: part of the table to fit on; None: every row.
        held_out: part of the table, or another table, to judge on; None: each clip is judged by
            what was fitted on the other folds.
        modalities: what is fitted of ``av``, ``v`` and ``a``, the others stay as they are; None:
            all that the model reads.
        abstain_target: how many of the answers are to be right, between 0 and 1.
        out: folder of a calibrated copy, written whole or not at all; None: the checkpoint's
            configuration is rewritten in place.
        report: folder of the report; None: ``calibration/`` in the run's folder.
        seed: of folds and intervals.
        face_detector: overrides the checkpoint's.
        face_model: YuNet's model file.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        batch_size: clips per batch.
        workers: decoding processes.
        command: what was typed, for the report.

    Returns:
        The content of ``calibration.json``; of several processes the first has it.

    Raises:
        CheckpointError: if there is no checkpoint, or it cannot be written in place.
        CorpusError: if the clips cannot be used, or nothing can be fitted on them.
        FileExistsError: if ``out`` is there and holds no checkpoint.
        ModalityError: if the model does not read what is asked for.
    """
    processes.join(device)
    with processes.first_goes_first():
        folder = resolve(source)
        _check_target(source, folder, out)
        model = ClaipEmoModel.from_pretrained(folder).to(pick_device(device))
        wanted = _wanted(model.config, modalities)
        processor = ClaipEmoProcessor.from_pretrained(folder)
        corpora = _corpora(data, split, held_out, model.config.label_set)
        detector = None
        if "v" in "".join(wanted):
            detector = make_detector(face_detector or processor.settings.face_detector, face_model)
    model.merge().eval()
    reading = {"missing": data.missing, "batch_size": batch_size, "workers": workers}
    with progress_bar(processes.speaking(None)) as bar:
        scored = [
            gather_logits(model, processor, corpus, wanted, detector, bar, **reading)
            for corpus in corpora
        ]
    _refuse_if_hopeless(scored[0])
    found: dict[str, Any] = {}
    if processes.is_first():
        fits = _fits(scored[0], abstain_target)
        found = {
            **_judged(scored, fits, model.config, abstain_target, seed),
            "model": str(source or "the model in the box"),
            "table": str(data.root),
            "split": split,
            "held_out": held_out,
            "command": command,
            "commit": commit(),
        }
        page = _store(folder, model.config, fits, found, out=out, report=report)
        found["report"] = str(page)
    processes.wait()
    return found


def _wanted(config: Described, asked: Sequence[Modality] | None) -> tuple[Modality, ...]:
    """Return what is fitted, in the order in which it is shown.

    Raises:
        ModalityError: if the model does not read it.
    """
    if unread := set(asked or ()) - set(config.modalities):
        raise ModalityError(
            f"This model reads {READS[config.modality]} only; it has no scores of "
            f"{READS[min(unread)]}."
        )
    return tuple(there for there in config.modalities if there in (asked or config.modalities))


def _check_target(source: str | Path | None, folder: Path, out: Path | None) -> None:
    """Refuse, before any work, what cannot be written.

    Raises:
        CheckpointError: naming ``--out``.
        FileExistsError: if ``out`` is there and holds no checkpoint.
    """
    if out is not None:
        refuse_to_replace(out, folder)
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = out.parent
    elif source is None or folder.resolve() == packaged().resolve():
        raise CheckpointError(
            "The model in the box is part of the installed package and stays as it is; --out DIR "
            "writes a calibrated copy."
        )
    elif not Path(source).exists():
        raise CheckpointError(
            f"{source} comes from the hub, and its files here are a cache; --out DIR writes a "
            "calibrated copy."
        )
    if not os.access(folder, os.W_OK):
        raise CheckpointError(
            f"{folder} cannot be written into; --out DIR writes a calibrated copy elsewhere."
        )


def _corpora(
    data: DataRecipe, split: str | None, held_out: str | None, labels: LabelSet
) -> list[Corpus]:
    """Return the clips to fit on and, where they are others, those to judge on.

    Raises:
        CorpusError: if they cannot be used, or are the same.
    """
    corpora = [known_to(labels, read_part(data, split, labels))]
    if held_out is not None:
        part = SPLIT_NAMES.get(held_out)
        others = data if part else data.model_copy(update={"root": held_out})
        corpora.append(known_to(labels, read_part(others, part, labels)))
        _check_apart(*corpora)
    if len(corpora[0]) < FEWEST_CLIPS or sum(map(bool, corpora[0].counts().values())) < 2:
        raise CorpusError(
            [
                f"A temperature is fitted on at least {FEWEST_CLIPS} clips of two classes or more; "
                f"there are {len(corpora[0])}. Label more, or name another --split."
            ]
        )
    return corpora


def _check_apart(fitting: Corpus, judging: Corpus) -> None:
    """Refuse clips that would fit and judge; warn of people who would."""
    shared = {_file(sample) for sample in fitting} & {_file(sample) for sample in judging}
    if shared:
        raise CorpusError(
            [
                f"{len(shared)} of the clips to judge on are those to fit on, such as "
                f"{min(shared)}: name different parts with --split and --held-out."
            ]
        )
    people = {sample.speaker for sample in fitting} & {sample.speaker for sample in judging}
    if people := sorted(str(name) for name in people if name):
        logger.warning(
            "%d speakers are among the clips to fit on and those to judge on (%s): people never "
            "seen may be told worse.", len(people), ", ".join(people[:5]),
        )  # fmt: skip


def _file(sample: Sample) -> str:
    return os.path.realpath(sample.path) + (f" + {sample.audio_path}" if sample.audio_path else "")


def _refuse_if_hopeless(views: dict[Modality, ViewLogits]) -> None:
    """Say what cannot be fitted, and why.

    Raises:
        CorpusError: if nothing can.
    """
    reasons = {there: why for there, found in views.items() if (why := obstacle(found))}
    told = [f"No temperature for {READS[there]}: {why}." for there, why in reasons.items()]
    if len(told) == len(views):
        raise CorpusError(told)
    for line in told if processes.is_first() else ():
        logger.warning("%s It stays as it is.", line)


def _fits(views: dict[Modality, ViewLogits], target: float) -> dict[Modality, Fit]:
    """Fit what can be fitted, and say what is to be known of it."""
    fits = {there: fit(found, target) for there, found in views.items() if not obstacle(found)}
    for there, chosen in fits.items():
        if len(views[there]) < FEW_CLIPS:
            logger.warning(
                "The temperature of %s was fitted on %d clips only; label more to know it better.",
                READS[there], len(views[there]),
            )  # fmt: skip
        if not TEMPERATURES[0] < chosen.temperature < TEMPERATURES[-1]:
            logger.warning(
                "The temperature of %s, %g, is at the end of what is tried: its scores tell hardly "
                "more than chance, or these clips are no sample of those to come.",
                READS[there], chosen.temperature,
            )  # fmt: skip
        if chosen.abstain_below is None:
            logger.warning(
                "At no score are %.0f %% of the answers from %s right: --abstain auto answers none "
                "of them. A lower --abstain-target may be reached.", 100 * target, READS[there],
            )  # fmt: skip
    return fits


def _judged(
    scored: list[dict[Modality, ViewLogits]],
    fits: dict[Modality, Fit],
    config: Described,
    target: float,
    seed: int,
) -> dict[str, Any]:
    """Return what was fitted, and what it changes where it was not fitted.

    Args:
        scored: the clips to fit on and, where they are others, those to judge on.
        fits: what was fitted.
        config: of the model as it was.
        target: accuracy that the answers are to have.
        seed: of folds and intervals.
    """
    fitted, others = scored[0], scored[1] if len(scored) > 1 else {}
    return {
        "protocol": "held_out" if others else "cross_fitted",
        "abstain_target": target,
        "modalities": {
            there: evidence(
                fitted[there], others.get(there), chosen, config.temperature_of(there), target, seed
            )
            for there, chosen in fits.items()
        },
        "not_fitted": {
            there: obstacle(views) for there, views in fitted.items() if there not in fits
        },
    }


def _store(
    folder: Path,
    config: Described,
    fits: dict[Modality, Fit],
    found: dict[str, Any],
    *,
    out: Path | None,
    report: Path | None,
) -> Path:
    """Write what was fitted into the checkpoint or a copy, and the report; return its page."""
    temperature = {there: config.temperature_of(there) for there in config.modalities}
    limits = dict(config.abstain_below or {})
    for there, chosen in fits.items():
        temperature[there] = chosen.temperature
        limits.pop(there, None)
        if chosen.abstain_below is not None:
            limits[there] = chosen.abstain_below
    changes = {"temperature": temperature, "abstain_below": limits or None}
    if out is not None:
        with written_whole(out) as partial:
            copy_checkpoint(folder, partial)
            rewrite_config(partial, changes)
            page = write_calibration(report or partial / CALIBRATION, found)
        return page if report else out / CALIBRATION / page.name
    run = folder.parent if folder.name == "model" else folder
    page = write_calibration(report or run / CALIBRATION, found)
    rewrite_config(folder, changes)
    if (run / "predictions.parquet").is_file():
        write_report(run)
    return page
