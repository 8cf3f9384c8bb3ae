"""What a recipe would do, without doing it: data, sizes, steps, learning rates, memory."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from transformers.initialization import no_init_weights

from claip_emo.corpora.base import PARTS, Corpus, CorpusError
from claip_emo.corpora.load import fold_of, load_corpus, place_of
from claip_emo.corpora.published import published
from claip_emo.evaluation import processes
from claip_emo.labels import SEVEN, LabelSet
from claip_emo.model.backbones import missing_files, resolve
from claip_emo.model.devices import pick_device
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision, resolve_precision
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import Recipe
from claip_emo.training.features import features_of
from claip_emo.training.initial import configured
from claip_emo.training.parts import part_problems
from claip_emo.training.schedule import learning_rates

PAPER_RATE, PAPER_CLIPS = 1e-5, 8  # the released code's: 1e-5 x total batch / 8
ADAMW_STATES = 2  # running means of the gradient and of its square


def plan(recipe: Recipe, folds: Sequence[int] = (), device: str = "auto") -> dict[str, Any]:
    """Resolve a recipe and say what training by it would mean.

    Args:
        recipe: what would be trained.
        folds: of a corpus with folds, those that would be run; none: the recipe's own.
        device: where it would be trained: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        ``recipe``, ``data`` (per fold: part -> ``n`` and ``per_class``), ``problems`` (why it could
        not be trained as it is), ``parameters``, ``weights_missing`` (files that are not on this
        machine), ``steps_per_epoch``, ``steps``, ``batch``, ``learning_rates`` (``peak``,
        ``final``, ``paper``, and ``by_epoch``: the rate in the last step of each), ``memory_gib``,
        ``precision`` (``fp32`` or ``bf16``) and ``features`` (``live`` or ``cached``).
        Steps of a published corpus that is not here follow from its published counts; where nothing
        is known they are None.

    Raises:
        DeviceError: if there is no such device.
        RecipeError: if features are to be cached that would not stay the same.
    """
    features = features_of(recipe)
    recipes = [recipe.of_fold(fold) for fold in folds] or [recipe]
    found = {one.data.fold or 1: _corpus(one) for one in recipes}
    corpora = [corpus for corpus, _ in found.values() if corpus is not None]
    wanted = recipe.model
    backbone = resolve(wanted.backbone, vision=wanted.vision, audio=wanted.audio)
    processor = ClaipEmoProcessor.for_backbone(backbone, **wanted.processor)
    labels = corpora[0].labels if corpora else _labels(recipe)
    without_weights = replace(backbone, vision_source=None, audio_source=None)
    with no_init_weights():
        model = ClaipEmoModel(configured(wanted, without_weights, processor, labels))
    settings = recipe.train
    precision = resolve_precision(settings.precision, pick_device(device), model.config)
    clips = max((len(corpus.part("train")) for corpus in corpora), default=0)
    clips = clips or _published_clips(recipe)
    batch = settings.batch_size * settings.accumulation * processes.count()
    steps = _steps_per_epoch(clips, recipe) if clips else None
    rates = learning_rates(
        peak=settings.learning_rate,
        final=settings.final_learning_rate,
        epochs=settings.epochs,
        steps_per_epoch=steps or 1,
        warmup_epochs=settings.warmup_epochs,
    )
    return {
        "recipe": json.loads(recipe.model_dump_json()),
        "data": {
            str(fold): _counts(corpus) for fold, (corpus, _) in found.items() if corpus is not None
        },
        "problems": list(dict.fromkeys(why for _, problems in found.values() for why in problems)),
        "labels": list(labels),
        "parameters": model.count_parameters(),
        "weights_missing": {s: lost for s in backbone.sources if (lost := missing_files(s))},
        "batch": batch,
        "steps_per_epoch": steps,
        "steps": steps and steps * settings.epochs,
        "learning_rates": {
            "peak": settings.learning_rate,
            "final": settings.final_learning_rate,
            "paper": PAPER_RATE * batch / PAPER_CLIPS,
            "by_epoch": rates[steps - 1 :: steps] if steps else None,
        },
        "memory_gib": memory_estimate(model, processor, recipe, precision),
        "precision": precision,
        "features": features,
    }


def memory_estimate(
    model: ClaipEmoModel, processor: ClaipEmoProcessor, recipe: Recipe, precision: Precision
) -> dict[str, float]:
    """Estimate the memory of one training step, in GiB.

    A forward pass runs on tensors that have shapes and no content; what autograd would keep for
    the backward pass is added up, each storage once. What a step needs besides (buffers of single
    operations, layers that checkpointing computes again, the libraries themselves) is not in it.

    Args:
        model: its weights are not read.
        processor: what its towers see.
        recipe: batch size, gradient checkpointing.
        precision: number format of products.

    Returns:
        ``weights``, ``gradients``, ``optimizer``, ``activations``, ``total``.
    """
    if recipe.train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    one, two = (_activations(model, processor, precision, recipe, batch) for batch in (1, 2))
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    parts = {
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": trained,
        "optimizer": ADAMW_STATES * trained,
        "activations": one + (recipe.train.batch_size - 1) * (two - one),  # each clip adds as much
    }
    parts["total"] = sum(parts.values())
    return {name: round(nbytes / 2**30, 3) for name, nbytes in parts.items()}


def _activations(
    model: ClaipEmoModel,
    processor: ClaipEmoProcessor,
    precision: Precision,
    recipe: Recipe,
    batch: int,
) -> int:
    """Return the bytes that a batch and what autograd keeps of it take."""
    seen = processor.settings
    kept: dict[int, tuple[Any, int]] = {}  # the storage is held, so that its id stays its own

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not _is_weight(tensor):
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    side, (windows, *mel) = seen.image_size_px, seen.mel_shape
    frames = min(recipe.augment.frames or seen.num_frames, seen.num_frames)
    windows = min(recipe.augment.windows or windows, windows)
    inputs: dict[str, Tensor] = {}
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    shapes = FakeTensorMode()
    state = {
        name: shapes.from_tensor(value)
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    with shapes, hooks, autocast:
        if model.config.reads_video:
            inputs["pixel_values"] = torch.empty(batch, frames, seen.image_channels, side, side)
        if model.config.reads_audio:
            inputs["input_features"] = torch.empty(batch, windows, *mel)
        functional_call(model, state, kwargs=inputs)
    of_inputs = sum(value.untyped_storage().nbytes() for value in inputs.values())
    return sum(nbytes for _, nbytes in kept.values()) + of_inputs


def _is_weight(tensor: Tensor) -> bool:
    """Say whether a tensor is a weight, or a view of one such as its transpose."""
    base = tensor._base if tensor._base is not None else tensor
    return isinstance(base, torch.nn.Parameter)


def _corpus(recipe: Recipe) -> tuple[Corpus | None, list[str]]:
    """Return what is there of the corpus, and what is wrong with it."""
    wanted: dict[str, Any] = {
        "seed": recipe.train.seed,
        "validation": recipe.protocol.selection == "validation",
    }
    try:
        corpus = load_corpus(recipe.data, **wanted)
        parts = {name: corpus.part(name) for name in PARTS}
        return corpus, part_problems(recipe, parts)
    except CorpusError as error:
        problems = list(error.problems)
    try:
        return load_corpus(recipe.data, check_files=False, **wanted), problems
    except CorpusError:  # more than files is wrong with it
        return None, problems


def _labels(recipe: Recipe) -> LabelSet:
    """Return the classes that would be told apart, as far as they are known without the corpus."""
    if recipe.data.labels:
        return LabelSet(recipe.data.labels)
    try:
        return published(recipe.data.corpus).labels(place_of(recipe.data))
    except CorpusError:  # a table, or lists without the order of their labels
        return SEVEN


def _published_clips(recipe: Recipe) -> int | None:
    """Return how many clips a published corpus has to train on, less those that validate."""
    data = recipe.data
    try:
        counts = published(data.corpus).published_counts(place_of(data), fold_of(data)) or {}
    except CorpusError:
        return None
    train = counts.get("train")
    if train is None:
        return None
    clips = sum(train.values()) if isinstance(train, Mapping) else train
    splits_off = recipe.protocol.selection == "validation" and "validation" not in counts
    return round(clips * (1 - data.validation_share)) if splits_off else clips


def _counts(corpus: Corpus) -> dict[str, Any]:
    found = {}
    for name in PARTS:
        part = corpus.part(name)
        if part.samples:
            found[name] = {"n": len(part.samples), "per_class": part.counts()}
    return found


def _steps_per_epoch(clips: int, recipe: Recipe) -> int:
    """Return the optimiser's steps in an epoch, as the Trainer counts them."""
    batches = math.ceil(math.ceil(clips / recipe.train.batch_size) / processes.count())
    return max(1, math.ceil(batches / recipe.train.accumulation))
