"""What ``claip-emo info`` says of a backbone or a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.initialization import no_init_weights

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor


def describe_backbone(name: str, adaptation: str = "lora", **settings: Any) -> dict[str, Any]:
    """Build a backbone at full size from its configuration, without weights, and count.

    Args:
        name: of the backbone.
        adaptation: ``lora``, ``frozen`` or ``full``.
        settings: others of ``ClaipEmoConfig``, such as ``temporal``, ``fusion``, ``modality``.

    Raises:
        BackboneError: for an unknown name.
    """
    backbone = replace(resolve(name), vision_source=None, audio_source=None)
    processor = ClaipEmoProcessor.for_backbone(backbone)
    with no_init_weights():
        model = ClaipEmoModel(configure(backbone, SEVEN, adaptation=adaptation, **settings))
    return _describe(model, processor)


def describe_checkpoint(source: str | Path) -> dict[str, Any]:
    """Load a checkpoint and count.

    Raises:
        CheckpointError: if it is none.
    """
    return _describe(
        ClaipEmoModel.from_pretrained(source), ClaipEmoProcessor.from_pretrained(source)
    )


def _describe(model: ClaipEmoModel, processor: ClaipEmoProcessor) -> dict[str, Any]:
    seen, config = processor.settings, model.config
    picture = {
        "frames": seen.num_frames,
        "frame_stride": seen.frame_stride,
        "image_size_px": seen.image_size_px,
        "image_channels": seen.image_channels,
        "image_normalisation": seen.image_normalisation,
        "image_mirrored": seen.image_mirrored,
        "face_detector": seen.face_detector,
        "face_margin": seen.face_margin,
    }
    sound = {
        "sampling_rate_hz": seen.sampling_rate_hz,
        "audio_s": seen.audio_s,
        "mel_bins": seen.mel_bins,
        "mel_mode": seen.mel_mode,
    }
    return {
        "backbone": config.backbone,
        "adaptation": config.adaptation,
        "modality": config.modality,
        "temporal": config.temporal if config.reads_video else None,
        "fusion": config.fusion if config.modality == "av" else None,
        "labels": list(config.labels),
        "logit_shift": config.logit_shift,
        "temperature": config.temperature,
        "abstain_below": config.abstain_below,
        "parameters": model.count_parameters(),
        "input": (picture if config.reads_video else {}) | (sound if config.reads_audio else {}),
    }
