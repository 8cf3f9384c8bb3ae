"""Models at full size with random weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import Backbone, configure, resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor

ADAPTER_SPREAD = 0.02  # of LoRA's B, which is zero before training and then hides its cost


def build(backbone_name: str, seed: int = 0) -> tuple[ClaipEmoModel, ClaipEmoProcessor]:
    """Return a model with random weights, adapters that do something, and its processor.

    The same name and seed give the same weights.
    """
    backbone = _random(backbone_name)
    torch.manual_seed(seed)
    model = ClaipEmoModel(configure(backbone, SEVEN))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0, ADAPTER_SPREAD)
    return model.eval(), processor_of(backbone_name)


def processor_of(backbone_name: str) -> ClaipEmoProcessor:
    """Return the processor of a backbone without building its model."""
    return ClaipEmoProcessor.for_backbone(_random(backbone_name))


def _random(backbone_name: str) -> Backbone:
    return replace(resolve(backbone_name), vision_source=None, audio_source=None)
