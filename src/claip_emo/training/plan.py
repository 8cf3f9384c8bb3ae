"""What a recipe would do, without doing it: data, sizes, steps, learning rates, memory."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from transformers.initialization import no_init_weights

from claip_emo.corpora.base import PARTS, Corpus
from claip_emo.corpora.load import load_corpus
from claip_emo.evaluation import processes
from claip_emo.model.backbones import missing_files, resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import Recipe
from claip_emo.training.initial import configured
from claip_emo.training.schedule import learning_rates

PAPER_RATE, PAPER_CLIPS = 1e-5, 8  # the released code's: 1e-5 x total batch / 8
ADAMW_STATES = 2  # running means of the gradient and of its square


def plan(recipe: Recipe, folds: Sequence[int] = ()) -> dict[str, Any]:
    """Resolve a recipe and say what training by it would mean.

    Args:
        recipe: what would be trained.
        folds: of a corpus with folds, those that would be run; none: the recipe's own.

    Returns:
        ``recipe``, ``data`` (per fold: part -> ``n`` and ``per_class``), ``parameters``,
        ``weights_missing`` (files that are not on this machine), ``steps_per_epoch``, ``steps``,
        ``batch``, ``learning_rates`` (``peak``, ``final``, ``paper``, and ``by_epoch``: the rate in
        the last step of each), ``memory_gib``.

    Raises:
        CorpusError: if the corpus cannot be used.
    """
    recipes = [recipe.of_fold(fold) for fold in folds] or [recipe]
    corpora = [_corpus(one) for one in recipes]
    wanted = recipe.model
    backbone = resolve(wanted.backbone, vision=wanted.vision, audio=wanted.audio)
    processor = ClaipEmoProcessor.for_backbone(backbone, **wanted.processor)
    labels = corpora[0].labels
    without_weights = replace(backbone, vision_source=None, audio_source=None)
    with no_init_weights():
        model = ClaipEmoModel(configured(wanted, without_weights, processor, labels))
    settings = recipe.train
    clips = max(len(corpus.part("train").samples) for corpus in corpora)
    batch = settings.batch_size * settings.accumulation * processes.count()
    steps = _steps_per_epoch(clips, recipe)
    rates = learning_rates(
        peak=settings.learning_rate,
        final=settings.final_learning_rate,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        warmup_epochs=settings.warmup_epochs,
    )
    return {
        "recipe": json.loads(recipe.model_dump_json()),
        "data": {
            str(one.data.fold if one.data.fold is not None else 1): _counts(corpus)
            for one, corpus in zip(recipes, corpora, strict=True)
        },
        "labels": list(labels),
        "parameters": model.count_parameters(),
        "weights_missing": {s: lost for s in backbone.sources if (lost := missing_files(s))},
        "batch": batch,
        "steps_per_epoch": steps,
        "steps": steps * settings.epochs,
        "learning_rates": {
            "peak": settings.learning_rate,
            "final": settings.final_learning_rate,
            "paper": PAPER_RATE * batch / PAPER_CLIPS,
            "by_epoch": rates[steps - 1 :: steps],
        },
        "memory_gib": memory_estimate(model, processor, recipe),
    }


def memory_estimate(
    model: ClaipEmoModel, processor: ClaipEmoProcessor, recipe: Recipe
) -> dict[str, float]:
    """Estimate the memory of one training step, in GiB.

    A forward pass runs on tensors that have shapes and no content; what autograd would keep for
    the backward pass is added up, each storage once. What a step needs besides (buffers of single
    operations, layers that checkpointing computes again, the libraries themselves) is not in it.

    Args:
        model: its weights are not read.
        processor: what its towers see.
        recipe: batch size, precision, gradient checkpointing.

    Returns:
        ``weights``, ``gradients``, ``optimizer``, ``activations``, ``total``.
    """
    seen, settings = processor.settings, recipe.train
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    kept: dict[int, tuple[Any, int]] = {}  # the storage is held, so that its id stays its own

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not _is_weight(tensor):
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    batch = settings.batch_size
    side, frames = seen.image_size_px, seen.num_frames
    mel_frames = seen.samples // seen.hop + 1
    inputs: dict[str, Tensor] = {}
    model.train()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    shapes = FakeTensorMode()
    state = {
        name: shapes.from_tensor(value)
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    with shapes, hooks, autocast:
        if recipe.model.modality != "a":
            inputs["pixel_values"] = torch.empty(batch, frames, seen.image_channels, side, side)
        if recipe.model.modality != "v":
            inputs["input_features"] = torch.empty(batch, 1, mel_frames, seen.mel_bins)
        functional_call(model, state, kwargs=inputs)
    of_inputs = sum(value.untyped_storage().nbytes() for value in inputs.values())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    parts = {
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": trained,
        "optimizer": ADAMW_STATES * trained,
        "activations": sum(nbytes for _, nbytes in kept.values()) + of_inputs,
    }
    parts["total"] = sum(parts.values())
    return {name: round(nbytes / 2**30, 3) for name, nbytes in parts.items()}


def _is_weight(tensor: Tensor) -> bool:
    """Say whether a tensor is a weight, or a view of one such as its transpose."""
    base = tensor._base if tensor._base is not None else tensor
    return isinstance(base, torch.nn.Parameter)


def _corpus(recipe: Recipe) -> Corpus:
    return load_corpus(
        recipe.data,
        seed=recipe.train.seed,
        validation=recipe.protocol.selection == "validation",
    )


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
