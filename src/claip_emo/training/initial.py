"""The model a run starts from: of its backbone, of another checkpoint, or its own former one."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import torch

from claip_emo.evaluation.processes import first_goes_first, is_first
from claip_emo.labels import LabelSet
from claip_emo.model import checkpoint_folder as store
from claip_emo.model.backbones import Backbone, configure, resolve
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import ModelRecipe, Recipe
from claip_emo.training.first_words import begin_with_words

logger = logging.getLogger(__name__)

INITIAL = "initial"


def initial_model(
    recipe: Recipe, labels: LabelSet, state_dir: Path
) -> tuple[ClaipEmoModel, ClaipEmoProcessor]:
    """Build the model that a run starts from, or load the one that it started from.

    Args:
        recipe: what is trained, and the checkpoint that its weights start from, if any.
        labels: the classes of the corpus.
        state_dir: where the start is kept, so that a run that goes on has the same.

    Raises:
        BackboneError: if the towers cannot be had.
        CheckpointError: if the checkpoint to start from does not fit.
        RecipeError: if the head cannot begin with words.
    """
    start = state_dir / INITIAL
    with first_goes_first():
        if (start / store.CONFIG).is_file():
            return (
                ClaipEmoModel.from_pretrained(start),
                ClaipEmoProcessor.from_pretrained(start),
            )
        torch.manual_seed(recipe.train.seed)
        wanted = recipe.model
        backbone = resolve(wanted.backbone, vision=wanted.vision, audio=wanted.audio)
        processor = ClaipEmoProcessor.for_backbone(backbone, **wanted.processor)
        model = ClaipEmoModel.from_backbone(configured(wanted, backbone, processor, labels))
        if wanted.head == "language":
            begin_with_words(model)
        if (init := recipe.train.init) is not None:
            continue_from(model, ClaipEmoModel.from_pretrained(init))
            _compare(processor, ClaipEmoProcessor.from_pretrained(init))
        if is_first():
            with store.written_whole(start) as folder:
                model.save_pretrained(folder)
                processor.save_pretrained(folder)
    return model, processor


def configured(
    wanted: ModelRecipe, backbone: Backbone, processor: ClaipEmoProcessor, labels: LabelSet
) -> ClaipEmoConfig:
    """Return the configuration of the model that a recipe describes."""
    return configure(
        backbone,
        labels,
        adaptation=wanted.adaptation,
        lora_rank=wanted.lora.rank,
        lora_alpha=wanted.lora.alpha,
        lora_dropout=wanted.lora.dropout,
        temporal=wanted.temporal,
        fusion=wanted.fusion,
        modality=wanted.modality,
        num_frames=processor.settings.num_frames,
    )


def continue_from(model: ClaipEmoModel, former: ClaipEmoModel) -> None:
    """Start a model from another's weights: towers, adapters, temporal module; head if it fits.

    Raises:
        CheckpointError: if the former has other towers or adapters.
    """
    weights = former.state_dict()
    own = model.state_dict()
    scales = former.config.lora_alpha, model.config.lora_alpha
    if model.config.adaptation == "lora" and scales[0] != scales[1]:
        raise store.CheckpointError(
            f"--init: the checkpoint's model.lora.alpha is {scales[0]}, this one's {scales[1]}: "
            "the same adapters would have another effect. Train with the alpha that it has."
        )
    same_labels = former.config.labels == model.config.labels
    for name, value in own.items():
        if name.startswith("head.") and not same_labels:
            continue
        if name not in weights or weights[name].shape != value.shape:
            raise store.CheckpointError(
                f"--init: the checkpoint has another architecture or adaptation; {name} differs. "
                "Train with the backbone, adaptation and rank that it has."
            )
        if is_tower(name) and not torch.equal(value, weights[name]):
            model.config.store_towers = True  # they are no longer those of their source
        value.copy_(weights[name])
    if not same_labels:
        logger.warning("--init: the labels differ, so the fusion head starts anew.")


def is_tower(name: str) -> bool:
    """Say whether a weight is a tower's own, and no adapter's."""
    return name.startswith(store.TOWER_NAMES) and ".lora_" not in name


def _compare(own: ClaipEmoProcessor, former: ClaipEmoProcessor) -> None:
    """Warn where the towers are to see something else than they were trained on."""
    one, other = asdict(own.settings), asdict(former.settings)
    if differ := [f"{key} ({other[key]} -> {one[key]})" for key in one if one[key] != other[key]]:
        logger.warning(
            "--init: this run's clips are processed in another way than the checkpoint's were: %s. "
            "Name them with --set model.processor.KEY=VALUE if that is not meant.",
            ", ".join(differ),
        )
