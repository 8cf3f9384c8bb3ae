"""A recipe becomes a checkpoint, and a run's folder that says how good it is."""

from __future__ import annotations

import importlib.util
import json
import logging
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file
from transformers import TrainerState

from claip_emo.corpora.base import Corpus, CorpusError, OnProgress
from claip_emo.corpora.load import fold_of, load_corpus
from claip_emo.corpora.published import NAMES
from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import ClipDataset
from claip_emo.data.wanted import recipe_cache, taken
from claip_emo.evaluation import processes
from claip_emo.evaluation.evaluate import predict, write_run
from claip_emo.evaluation.intake import plainly, prepared, readable, without
from claip_emo.evaluation.run import commit, describe_run, progress_bar, progress_task
from claip_emo.evaluation.zero_shot_run import score_beside
from claip_emo.inference.predictor import ModelEncoder
from claip_emo.media.decode import MediaError
from claip_emo.model import checkpoint_folder as store
from claip_emo.model.card import write_card
from claip_emo.model.devices import pick_device
from claip_emo.model.language import store_language
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.parameters import between
from claip_emo.model.precision import Precision, resolve_precision
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import Recipe
from claip_emo.recipe_files import RecipeError
from claip_emo.training.arithmetic import keep_precision, scoring
from claip_emo.training.callbacks import (
    BestEpoch,
    EpochOrder,
    History,
    Interrupt,
    ProgressBar,
    SaveOften,
    epochs_since_best,
)
from claip_emo.training.claim import RECIPE, claim, refuse_another
from claip_emo.training.feature_trainer import FeatureTrainer
from claip_emo.training.features import features_of, forget
from claip_emo.training.initial import initial_model
from claip_emo.training.parts import part_problems, part_warnings
from claip_emo.training.trainer import BEST, STATE, TRAINED, ClaipEmoTrainer, newest_checkpoint
from claip_emo.whole_files import write_text

logger = logging.getLogger(__name__)

STATE_DIR = "training_state"
LEFT_OUT = "left_out.json"  # ids of clips that cannot be read: a run that goes on has the same


class Interrupted(KeyboardInterrupt):
    """The training was interrupted and can go on; the message says how."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run leaves: its folder, its metrics, and how long it took in seconds."""

    out: Path
    metrics: dict[str, Any]
    seconds: float


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    init: Path | str | None = None,
    device: str = "auto",
    explain: int = 0,
    command: str | None = None,
    console: Console | None = None,
) -> Run:
    """Train, keep the epoch that the recipe selects, evaluate it on the test part, report.

    Run again with the same recipe and folder, it goes on where it was.

    Args:
        recipe: what to train on what, and how.
        out: the run's folder.
        init: a checkpoint to start the weights from; the recipe's own unless it is given.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        explain: how many of the surest mistakes the report explains.
        command: what was typed, for the report.
        console: where progress is shown; None: stderr.

    Raises:
        CorpusError: if the corpus cannot be used; nothing has been trained then.
        DeviceError: if there is no such device.
        RecipeError: if the folder holds a run of another recipe.
        NonFiniteLossError: if the loss diverges.
        Interrupted: after Ctrl-C, when the state has been saved.
    """
    out = Path(out)
    if init is not None:
        of_start = recipe.train.model_copy(update={"init": str(init)})
        recipe = recipe.model_copy(update={"train": of_start})
    processes.join(device)
    console = processes.speaking(console)
    place = pick_device(device)
    features_of(recipe)  # what cannot be cached is told before anything is read
    if recipe.train.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise RecipeError("train.tensorboard needs TensorBoard: pip install tensorboard")
    state_dir = out / STATE_DIR
    began_at = commit()
    with processes.first_goes_first():
        refuse_another(recipe, out)
    with progress_bar(console) as bar:
        whole = _loaded(recipe, bar)
        corpus = _opened(recipe, whole, state_dir / LEFT_OUT, bar)
        parts = {name: corpus.part(name) for name in ("train", "validation", "test")}
        _check_parts(recipe, parts)
        with processes.first_goes_first():
            new = claim(recipe.to_yaml(), out)
            _keep_left_out(whole, corpus, state_dir / LEFT_OUT)
        try:
            model, processor = initial_model(recipe, corpus.labels, state_dir)
        except Exception:
            if new:  # the recipe has to be changed: the folder is not bound to this one
                (state_dir / LEFT_OUT).unlink(missing_ok=True)
                (out / RECIPE).unlink(missing_ok=True)
            raise
        shares = recipe.train.interpolation
        start = {} if shares == 1 else deepcopy(model.trained_state())
        precision = resolve_precision(recipe.train.precision, place, model.config)
        datasets = _datasets(recipe, parts, processor, bar)
        seconds = _fit(recipe, model, processor, datasets, out, precision, place, bar)
        if start:
            model.load_trained_state(between(start, model.trained_state(), shares))
        facts = _facts(recipe, model, parts, seconds) | {"command": command, "commit": began_at}
        facts |= {"precision": precision, "features": features_of(recipe)}
        facts = describe_run(model, **facts)
        if processes.is_first():
            with store.written_whole(out / "model") as folder:
                model.save_pretrained(folder)
                processor.save_pretrained(folder)
                store_language(folder, model.config)
                (folder / RECIPE).write_text(recipe.to_yaml(), "utf-8")
                write_card(folder, facts)
        figures: dict[str, Any] = {}
        if parts["test"].samples:
            workers = 0 if recipe.data.cache == "memory" else recipe.data.workers
            if recipe.protocol.zero_shot:
                processes.wait()  # for the checkpoint to be written
                score_beside(out, facts, datasets["test"], model.device, workers)
            with scoring(model, precision):
                rows = predict(
                    model,
                    processor,
                    datasets["test"],
                    workers=workers,
                    progress=progress_task(bar, "Testing", len(datasets["test"])),
                )
                if processes.is_first():
                    encoder = ModelEncoder(model, processor)
                    figures = write_run(out, rows, datasets["test"], facts, encoder, explain)
                    write_card(out / "model", facts, figures)
    processes.wait()
    return Run(out, figures, seconds)


def _facts(
    recipe: Recipe, model: ClaipEmoModel, parts: dict[str, Corpus], seconds: float
) -> dict[str, Any]:
    """Return what a report says of a run besides its scores."""
    data = recipe.data
    published = data.corpus in NAMES
    people = [{s.speaker for s in parts[name].samples} for name in ("train", "test")]
    facts: dict[str, Any] = {
        "title": recipe.name,
        "corpus": data.root,
        "corpus_name": data.corpus,
        "corpus_variant": data.variant,
        "fold": fold_of(data) if published else data.fold,
        "corpus_note": recipe.note,
        "counts": {name: len(part.samples) for name, part in parts.items()},
        "unseen_people": bool(people[1]) and not people[0] & people[1] and None not in people[1],
        "batch": recipe.train.batch_size * recipe.train.accumulation * processes.count(),
        "seconds": round(seconds, 1),
        "selection": recipe.protocol.selection,
        "seed": recipe.train.seed,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _loaded(recipe: Recipe, bar: Progress) -> Corpus:
    making: list[OnProgress] = []

    def progress(done: int, total: int) -> None:
        if not making:
            making.append(progress_task(bar, "Making clips", total))
        making[0](done, total)

    with processes.first_goes_first():  # clips are made once
        corpus = load_corpus(
            recipe.data,
            seed=recipe.train.seed,
            validation=recipe.protocol.selection == "validation",
            progress=progress,
        )
    return corpus


def _opened(recipe: Recipe, corpus: Corpus, left_out: Path, bar: Progress) -> Corpus:
    """Leave out, or refuse, what cannot be read, before hours are spent on the rest.

    Where there is a folder for prepared clips, that is when they are prepared. Made clips are
    whole, and clips that are kept in memory are all read before the first step.
    """
    data = recipe.data
    if data.cache_folder is None and (data.corpus == "synthetic" or data.cache == "memory"):
        return corpus
    if left_out.is_file():
        corpus = without(corpus, json.loads(left_out.read_text("utf-8")))
        if data.cache_folder is None:
            return corpus
    if data.cache_folder is not None:
        cache = recipe_cache(recipe, data.cache_folder)
        return prepared(corpus, data.missing, cache, workers=data.workers, bar=bar)
    count = len(corpus.samples[processes.rank() :: processes.count()])
    opening = progress_task(bar, "Opening clips", count)
    return readable(corpus, data.missing, progress=opening)


def _keep_left_out(whole: Corpus, corpus: Corpus, path: Path) -> None:
    if path.is_file() or not processes.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {sample.id for sample in corpus.samples}
    gone = [sample.id for sample in whole.samples if sample.id not in kept]
    write_text(path, json.dumps(gone) + "\n")


def _check_parts(recipe: Recipe, parts: dict[str, Corpus]) -> None:
    if problems := part_problems(recipe, parts):
        raise CorpusError(problems)
    for warning in part_warnings(recipe, parts):
        logger.warning(warning)


def _datasets(
    recipe: Recipe, parts: dict[str, Corpus], processor: ClaipEmoProcessor, bar: Progress
) -> dict[str, ClipDataset]:
    spec, detector = taken(recipe, processor)
    folder = recipe.data.cache_folder
    cache = ClipCache(folder, spec, detector) if folder is not None else None
    redrawn = recipe.data.pairs == "redrawn"
    datasets = {
        name: ClipDataset(
            corpus, spec, detector, recipe.train.seed, cache,
            new_pairs=redrawn and name == "train",
        )
        for name, corpus in parts.items()
    }  # fmt: skip
    if recipe.data.cache == "memory":
        for name, dataset in datasets.items():
            if len(dataset):
                dataset.remember(
                    for_training=name == "train",
                    threads=max(1, recipe.data.workers),
                    progress=progress_task(bar, f"Reading {name} clips", len(dataset)),
                )
    return datasets


def _fit(
    recipe: Recipe,
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    datasets: dict[str, ClipDataset],
    out: Path,
    precision: Precision,
    place: torch.device,
    bar: Progress,
) -> float:
    """Train from the newest complete state and leave the selected weights in the model."""
    state_dir = out / STATE_DIR
    chooser = "test" if recipe.protocol.selection == "best_on_test" else "validation"
    watched = datasets[chooser] if len(datasets[chooser]) else None
    kept = [model, processor, recipe, datasets["train"], watched, state_dir]
    settings: dict[str, Any] = {"precision": precision, "use_cpu": place.type == "cpu"}
    trainer = (
        FeatureTrainer(*kept, bar=bar, **settings)
        if features_of(recipe) == "cached"
        else ClaipEmoTrainer(*kept, **settings)
    )
    resumed = newest_checkpoint(state_dir)
    step = int(resumed.name.split("-")[1]) if resumed else 0
    history = History(out / "history.jsonl", step, recipe.protocol.selection_metric, part=chooser)
    interrupt = Interrupt()
    task = bar.add_task("Training", total=None, facts="")
    for callback in (
        EpochOrder(trainer.draws),
        history,
        SaveOften(recipe.train.save_every_steps),
        BestEpoch(state_dir, recipe.protocol.selection_metric, recipe.train.early_stopping),
        interrupt,
        ProgressBar(bar, task),
    ):
        trainer.add_callback(callback)
    if resumed and _stopped_early(resumed, recipe):
        trainer._load_from_checkpoint(str(resumed))
    else:
        keep_precision(state_dir, precision)
        try:
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        except MediaError as error:
            raise plainly(error) from None
        finally:
            interrupt.restore()
    if interrupt.asked:
        raise Interrupted(f"Interrupted and saved. The same command goes on: {out}")
    forget(state_dir)
    processes.wait()  # for the best weights to be written
    if recipe.protocol.selection != "last" and (state_dir / BEST / TRAINED).is_file():
        model.load_trained_state(load_file(state_dir / BEST / TRAINED))
    return history.seconds


def _stopped_early(checkpoint: Path, recipe: Recipe) -> bool:
    """Say whether a run's patience had ended before it was killed."""
    state = TrainerState.load_from_json(str(checkpoint / STATE))
    patience = recipe.train.early_stopping
    finished = state.global_step >= state.max_steps
    waited = epochs_since_best(state, recipe.protocol.selection_metric)
    return finished or bool(patience and waited >= patience)
