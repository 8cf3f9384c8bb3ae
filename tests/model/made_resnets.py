"""Checkpoints of ResNets none of whose numbers is what it was initialised with."""

from dataclasses import replace
from pathlib import Path

import torch

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

SIZES = {
    "model_type": "resnet",
    "num_channels": 1,
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24],
    "depths": [2, 1, 2],
    "layer_type": "basic",
}


def saved(folder: Path, sizes: dict | None = None, **choices) -> ClaipEmoModel:
    """Save a model none of whose numbers is what it was initialised with."""
    torch.manual_seed(0)
    tower = SIZES | (sizes or {})
    backbone = replace(resolve("tiny"), vision=tower, audio=tower)
    model = ClaipEmoModel(configure(backbone, SEVEN, **choices))
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if "running_var" in name:
            value.data.uniform_(0.5, 2)
        elif "normalization.weight" in name:
            value.data.uniform_(0.5, 1.5)
        elif name.endswith("num_batches_tracked"):
            value.data.fill_(3)
        elif any(part in name for part in ("lora_", "normalization", "head")):
            value.data.normal_(0, 0.3)
    model.eval().save_pretrained(folder)
    ClaipEmoProcessor.for_backbone(backbone).save_pretrained(folder)
    return model
