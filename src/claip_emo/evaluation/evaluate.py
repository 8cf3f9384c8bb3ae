"""A model and a corpus become predictions, and predictions become a run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from rich.console import Console
from torch.utils.data import DataLoader

from claip_emo.corpora.base import Corpus, OnProgress
from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import ClipDataset, LabelledClip, collate
from claip_emo.evaluation import processes
from claip_emo.evaluation.across import Scorer, project_corpus, projected_scorer
from claip_emo.evaluation.explanations import write_explanations
from claip_emo.evaluation.intake import (
    facts_of,
    known_to,
    plainly,
    prepared,
    read_part,
    readable,
)
from claip_emo.evaluation.predictions import Predictions, metrics
from claip_emo.evaluation.report import (
    EXPLANATIONS,
    forget_pictures,
    surest_mistakes,
    thumbnail_name,
    write_report,
)
from claip_emo.evaluation.run import describe_run, progress_bar, progress_task
from claip_emo.inference.predictor import ModelEncoder
from claip_emo.labels import Projection, project
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import make_detector
from claip_emo.model.batching import score
from claip_emo.model.description import Modality
from claip_emo.model.devices import pick_device
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import PrecisionChoice, resolve_precision
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.model.stacking import MODALITIES, Scores
from claip_emo.recipe import DataRecipe
from claip_emo.whole_files import write_text

THUMBNAIL_PX = 160


def predict(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    dataset: ClipDataset,
    *,
    projection: Projection | None = None,
    modalities: Iterable[Modality] | None = None,
    batch_size: int = 8,
    workers: int = 0,
    progress: OnProgress | None = None,
) -> Predictions:
    """Score every clip of a corpus, with both modalities and with each alone (by masking).

    A model that reads one modality has rows of that one only. ``modalities`` asks for others.
    ``projection`` takes the model's classes to those of the corpus, where they differ.

    Raises:
        MediaError: if a clip cannot be read: a score on the rest would be another score.
    """
    model.eval()

    def scorer(batch: dict[str, Any], wanted: Sequence[Modality]) -> dict[Modality, Scores]:
        return score(model, processor, batch, wanted)

    return score_corpus(
        dataset,
        scorer if projection is None else projected_scorer(scorer, projection),
        modalities=model.config.modalities if modalities is None else modalities,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
    )


def score_corpus(
    dataset: ClipDataset,
    scorer: Scorer,
    *,
    modalities: Iterable[Modality] = MODALITIES,
    batch_size: int = 8,
    workers: int = 0,
    progress: OnProgress | None = None,
) -> Predictions:
    """Score every clip of a corpus with whatever turns a batch into scores.

    Where several processes run, each scores every so many batches. The batches are the same as in
    one process, so that the scores are too; the rows are gathered before anything is computed.

    Args:
        dataset: the clips; their test views are scored.
        scorer: (stacked batch, modalities) -> scores of each modality.
        modalities: which rows are wanted.
        batch_size: clips per batch.
        workers: decoding processes.
        progress: told how many clips of this process's share are done.

    Raises:
        MediaError: if a clip cannot be read.
    """
    wanted = tuple(modalities)
    every = range(len(dataset))
    batches = [list(every[start : start + batch_size]) for start in every[::batch_size]]
    mine = batches[processes.rank() :: processes.count()]
    share = [index for batch in mine for index in batch]
    loader = DataLoader(dataset, batch_sampler=mine, collate_fn=collate, num_workers=workers)
    # One block for all: small ones between the large ones of every batch would split the heap.
    shape = len(share), len(dataset.corpus.labels)
    logits = {modality: np.empty(shape) for modality in wanted}
    scores = {modality: np.empty(shape) for modality in wanted}
    done = 0
    for batch in _told_plainly(loader):
        rows = slice(done, done + len(batch["ids"]))
        for modality, found in scorer(batch, wanted).items():
            logits[modality][rows] = found.logits
            scores[modality][rows] = found.probabilities
        done = rows.stop
        if progress is not None:
            progress(done, len(share))
    samples = [dataset.corpus.samples[index] for index in share]
    parts = [
        Predictions.from_rows(
            dataset.corpus.labels,
            ids=[sample.id for sample in samples],
            paths=[str(sample.path) for sample in samples],
            folds=[sample.fold for sample in samples],
            modality=modality,
            true_labels=[sample.label for sample in samples],
            logits=logits[modality],
            scores=scores[modality],
        )
        for modality in wanted
    ]
    return Predictions.concat(processes.gather(Predictions.concat(parts)))


def _told_plainly(loader: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the batches; a clip that fails midway says so in its own words."""
    try:
        yield from loader
    except MediaError as error:
        raise plainly(error) from None


def write_run(
    out: Path,
    predictions: Predictions,
    dataset: ClipDataset,
    facts: dict[str, Any],
    encoder: ModelEncoder | None = None,
    explain: int = 0,
) -> dict[str, Any]:
    """Write predictions, metrics, thumbnails, facts and the report of a run; return the metrics.

    Args:
        out: the run's folder.
        predictions: rows of the test part.
        dataset: the test part, for the thumbnails of the surest mistakes.
        facts: what the report says of the run (``run.json``).
        encoder: of the model that scored, for ``explain``.
        explain: how many of the surest mistakes the report explains.
    """
    out.mkdir(parents=True, exist_ok=True)
    predictions.write(out / "predictions.parquet")
    figures = metrics(predictions)
    _write_json(out / "metrics.json", figures)
    _write_json(out / "run.json", facts)
    forget_pictures(out)
    write_thumbnails(out / "thumbnails", predictions, dataset)
    if encoder is not None and explain:
        write_explanations(out / EXPLANATIONS, predictions, dataset, encoder, explain)
    write_report(out)
    return figures


def evaluate_data(
    source: str | Path,
    data: DataRecipe,
    out: Path,
    *,
    split: str | None = None,
    across: bool = False,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    **settings: Any,
) -> dict[str, Any]:
    """Score a checkpoint on a labelled table or corpus and write the results as a run's folder.

    Args:
        source: a run's folder, its ``model/``, or a hub id.
        data: the table, or the published corpus, where it lies, and which fold of it.
        out: folder for predictions, metrics and report.
        split: the part that is scored; None: every row of a table, the test part of a corpus.
        across: the clips have other classes than the model: score the classes that both have, and
            count what is left out.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: number format of the towers; ``auto`` is the faster of fp32 and bf16.
        settings: the others of ``evaluate_corpus``.

    Returns:
        The content of ``metrics.json``; of several processes the first has it.

    Raises:
        CheckpointError: if there is no checkpoint.
        CorpusError: if the corpus cannot be used, or has labels the model does not know.
        DeviceError: if there is no such device, or it does not compute in the precision.
        LabelError: if model and clips share fewer than two classes.
    """
    processes.join(device)
    facts = facts_of(data)
    projection = None
    with processes.first_goes_first():
        model = ClaipEmoModel.from_pretrained(source).to(pick_device(device))
        processor = ClaipEmoProcessor.from_pretrained(source)
        chosen = resolve_precision(precision, model.device, model.config)
        facts["precision"] = chosen
        own = model.config.label_set
        corpus = read_part(data, split, None if across else own)
        if across:
            projection = project(own, corpus.labels)
            corpus, facts["projection"] = project_corpus(corpus, projection)
        else:
            corpus = known_to(own, corpus)
    return evaluate_corpus(
        model.merge(chosen),
        processor,
        corpus,
        out,
        facts,
        projection=projection,
        missing=data.missing,
        **settings,
    )


def evaluate_corpus(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    corpus: Corpus,
    out: Path,
    facts: dict[str, Any],
    *,
    projection: Projection | None = None,
    missing: Literal["error", "skip"] = "error",
    face_detector: str | None = None,
    face_model: Path | None = None,
    cache: Path | None = None,
    batch_size: int = 8,
    workers: int = 2,
    explain: int = 0,
    command: str | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Score a model on a corpus and write the results as a run's folder.

    Args:
        model: what scores: a model, or one that scores like it.
        processor: of the model.
        corpus: what is scored.
        out: folder for predictions, metrics and report.
        facts: what ``run.json`` says besides what follows from the model.
        projection: from the model's classes to those of the corpus, where they differ.
        missing: what is done about clips that cannot be read.
        face_detector: overrides the processor's.
        face_model: YuNet's model file.
        cache: folder of prepared clips; what is not there is prepared first.
        batch_size: clips per batch.
        workers: decoding processes.
        explain: how many of the surest mistakes the report explains; with a projection none, as
            their labels are not the model's own.
        command: what was typed, for the report.
        console: where progress is shown; None: stderr.

    Returns:
        The content of ``metrics.json``; of several processes the first has it.

    Raises:
        CorpusError: naming every clip that cannot be read, unless they are to be left out.
    """
    with processes.first_goes_first():
        detector = make_detector(face_detector or processor.settings.face_detector, face_model)
    config = model.config
    spec = processor.clip_spec(video=config.reads_video, audio=config.reads_audio)
    with progress_bar(processes.speaking(console)) as bar:
        detector = detector if config.reads_video else None
        prepared_clips = ClipCache(cache, spec, detector) if cache is not None else None
        if prepared_clips is not None:
            corpus = prepared(corpus, missing, prepared_clips, workers=workers, bar=bar)
        else:
            share = len(corpus.samples[processes.rank() :: processes.count()])
            opening = progress_task(bar, "Opening clips", share)
            corpus = readable(corpus, missing, progress=opening)
        dataset = ClipDataset(corpus, spec, detector, cache=prepared_clips)
        rows = predict(
            model,
            processor,
            dataset,
            projection=projection,
            batch_size=batch_size,
            workers=workers,
            progress=progress_task(bar, "Scoring", len(dataset)),
        )
    facts = describe_run(model, counts={"test": len(dataset)}, command=command, **facts)
    figures: dict[str, Any] = {}
    if processes.is_first():
        encoder = None if projection else ModelEncoder(model, processor)
        figures = write_run(out, rows, dataset, facts, encoder, explain)
    processes.wait()
    return figures


def write_thumbnails(folder: Path, predictions: Predictions, dataset: ClipDataset) -> None:
    """Write the middle frame of each of the surest mistakes as a small JPEG."""
    folder.mkdir(parents=True, exist_ok=True)
    place = {sample.id: index for index, sample in enumerate(dataset.corpus.samples)}
    for mistake in surest_mistakes(predictions):
        item: LabelledClip = dataset[place[mistake["id"]]]
        if item.clip.frames is None:
            continue
        middle = item.clip.frames[0, item.clip.frames.shape[1] // 2]
        picture = Image.fromarray(middle)
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        picture.save(folder / thumbnail_name(mistake["id"]), quality=85)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
