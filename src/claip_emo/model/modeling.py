"""ClaipEmoModel: two towers, a temporal module and a fusion head."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from claip_emo.model.backbones import BackboneError, explain_missing
from claip_emo.model.checkpoint import load_weights, save_weights
from claip_emo.model.checkpoint_folder import resolve
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.description import TowerError
from claip_emo.model.heads import build_fusion, build_temporal
from claip_emo.model.prediction import LaidOut
from claip_emo.model.towers import (
    AUDIO,
    VISION,
    adapt,
    build_tower,
    kind_of,
    load_tower,
    settle,
)
from claip_emo.model.waveforms import over_windows


@dataclass
class ClaipEmoOutput(ModelOutput):
    """What a forward pass returns.

    Attributes:
        loss: scalar soft-target cross-entropy, where labels were given.
        logits: (batch, classes).
        video: (batch, video width), zeros where a sample has no picture; width 0 without tower.
        audio: (batch, audio width), zeros where a sample has no sound; width 0 without tower.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    video: Tensor | None = None
    audio: Tensor | None = None


class ClaipEmoModel(LaidOut, PreTrainedModel):
    """Frozen, LoRA-adapted or fully trained towers for face and voice, fused into class logits.

    Source: Chen et al., arXiv 2509.14527. A missing modality contributes a zero vector, sample by
    sample, and costs no tower. A model that reads only one (``config.modality``) has no tower for
    the other: what it is given of that is ignored.
    """

    config_class = ClaipEmoConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(self, config: ClaipEmoConfig, towers: Mapping[str, PreTrainedModel] | None = None):
        """Build the model; towers that are not given get random weights of their configuration."""
        super().__init__(config)
        towers = dict(towers or {})
        self.vision_tower = self.audio_tower = self.temporal = None
        self.video_width = self.audio_width = 0
        if config.reads_video:
            self._vision = kind_of(config.vision_config, VISION)
            self.vision_tower = towers.get("vision") or build_tower(config.vision_config, VISION)
            self.video_width = self._vision.width(config.vision_config)
        if config.reads_audio:
            self._audio = kind_of(config.audio_config, AUDIO)
            self.audio_tower = towers.get("audio") or build_tower(config.audio_config, AUDIO)
            self.audio_width = self._audio.width(config.audio_config)
        if config.reads_video:
            self.temporal = build_temporal(config, self.video_width)
        self.head = build_fusion(config, self.audio_width, self.video_width)
        self.checkpointing = False
        self.post_init()
        adapt(self, config)
        if self.vision_tower is not None:
            self.vision_tower.to(memory_format=self._vision.memory_format)
        if self.audio_tower is not None:
            self.audio_tower.to(memory_format=self._audio.memory_format)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the initialisation to the modules themselves: towers must keep their weights."""

    def init_weights(self) -> None:
        """Initialise nothing: every part was initialised or loaded where it was built."""

    def train(self, mode: bool = True) -> ClaipEmoModel:
        """Switch to training mode, but keep what is frozen (buffers too) in evaluation mode."""
        super().train(mode)
        settle(self, self.config)
        return self

    def encode_video(self, pixel_values: Tensor) -> Tensor:
        """Turn frames (batch, time, channel, height, width) into features (batch, video width)."""
        batch, time = pixel_values.shape[:2]
        return self.over_time(self.encode_frames(pixel_values.flatten(0, 1)).view(batch, time, -1))

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Turn frames (frame, channel, height, width) into features (frame, video width)."""
        return self._vision.encode(self.vision_tower, pixels, self.checkpointing)

    def over_time(self, frames: Tensor) -> Tensor:
        """Turn features of frames (batch, time, width) into features (batch, video width)."""
        return self.temporal(frames.to(self.head_dtype))

    def encode_audio(self, input_features: Tensor) -> Tensor:
        """Turn log-mels (batch, window, time, mel) in dB into features (batch, audio width)."""
        encode = self._audio.encode
        return over_windows(
            lambda mel: encode(self.audio_tower, mel, self.checkpointing), input_features
        )

    def fuse(self, video: Tensor, audio: Tensor) -> Tensor:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        return self.head(audio.to(self.head_dtype), video)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_features: Tensor | None = None,
        has_video: Tensor | None = None,
        has_audio: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> ClaipEmoOutput:
        """Compute logits, and the loss where labels are given.

        Args:
            pixel_values: (batch, time, channel, height, width), normalised; None: no picture.
            input_features: (batch, window, time, mel) in dB; None: no sound.
            has_video: (batch,) bool; None: every sample has a picture.
            has_audio: (batch,) bool; None: every sample has sound.
            labels: (batch,) class indices or (batch, classes) soft targets.

        Raises:
            ValueError: if both modalities are missing from the call.
        """
        given = pixel_values if pixel_values is not None else input_features
        if given is None:
            raise ValueError("Give pixel_values or input_features, or both.")
        batch = len(given)
        if not self.config.reads_video:
            pixel_values = None
        if not self.config.reads_audio:
            input_features = None
        video = self._present(
            self.encode_video, pixel_values, has_video, self.video_width, batch, given.device
        )
        audio = self._present(
            self.encode_audio, input_features, has_audio, self.audio_width, batch, given.device
        )
        logits = self.fuse(video, audio)
        loss = None
        if labels is not None:
            targets = labels if labels.dtype.is_floating_point else labels.long()
            loss = functional.cross_entropy(logits.float(), targets)
        return ClaipEmoOutput(loss=loss, logits=logits, video=video, audio=audio)

    def _present(
        self,
        encode: Any,
        inputs: Tensor | None,
        present: Tensor | None,
        width: int,
        batch: int,
        device: torch.device,
    ) -> Tensor:
        """Encode the samples that have a modality; the others are zero, whatever they hold."""
        if inputs is not None and (present is None or bool(present.all())):
            return encode(inputs)
        features = torch.zeros(batch, width, device=device, dtype=self.head_dtype)
        if inputs is None or not bool(present.any()):
            return features
        places = present.nonzero().squeeze(1)
        encoded = encode(inputs[places])
        return features.to(encoded.dtype).index_copy(0, places, encoded)

    @property
    def head_dtype(self) -> torch.dtype:
        """The number type of the head's weights."""
        return next(self.head.parameters()).dtype

    def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
        """Keep only the inputs of the towers' layers, and compute the rest again going back."""
        self.checkpointing = True

    def gradient_checkpointing_disable(self) -> None:
        """Keep what the backward pass reads."""
        self.checkpointing = False

    def trained_state(self) -> dict[str, Tensor]:
        """Return what training changes: trainable parameters; with ``full`` also buffers."""
        trained = {n: p.detach() for n, p in self.named_parameters() if p.requires_grad}
        if self.config.adaptation == "full":
            trained |= dict(self.named_buffers())
        return trained

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``trained_state`` returned.

        Raises:
            ValueError: if names are missing or unknown: it is another model's.
        """
        expected = self.trained_state()
        if expected.keys() != state.keys():
            differ = sorted(expected.keys() ^ state.keys())
            raise ValueError(f"These weights are another model's; they differ in {differ[:3]}.")
        with torch.no_grad():
            for name, value in state.items():
                expected[name].copy_(value)

    @classmethod
    def from_backbone(cls, config: ClaipEmoConfig) -> ClaipEmoModel:
        """Build a model whose towers come from the sources that the configuration names.

        Raises:
            BackboneError: if a source cannot be had; the message says how to get it.
        """
        towers: dict[str, PreTrainedModel] = {}
        for role, kinds in (("vision", VISION), ("audio", AUDIO)):
            source = getattr(config, f"{role}_source")
            if source is None:  # random weights, or a tower that the model does not have
                continue
            try:
                tower = load_tower(source, kinds, revision=getattr(config, f"{role}_revision"))
            except OSError as error:
                raise BackboneError(explain_missing(source, error)) from error
            setattr(config, f"{role}_config", tower.config)
            revision = getattr(tower.config, "_commit_hash", None)
            setattr(config, f"{role}_revision", revision)
            towers[role] = tower
        return cls(config, towers)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **settings: Any
    ) -> ClaipEmoModel:
        """Load a checkpoint: a run's folder, its ``model/``, or a hub id.

        Args:
            pretrained_model_name_or_path: folder or hub id.
            settings: ``revision``, ``token`` for the hub; others override the configuration.

        Raises:
            CheckpointError: if it is no checkpoint, or an incomplete one.
            BackboneError: if the towers it refers to cannot be had.
        """
        hub = {key: settings.pop(key) for key in ("revision", "token") if key in settings}
        folder = resolve(pretrained_model_name_or_path, **hub)
        config = ClaipEmoConfig.from_pretrained(folder, **settings)
        model = cls(config) if config.store_towers else cls.from_backbone(config)
        load_weights(model, folder)
        return model.eval()

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | os.PathLike[str], *, push_to_hub: bool = False, **settings: Any
    ) -> None:
        """Write config.json, the adapter and, where they exist nowhere else, the towers.

        Args:
            save_directory: folder, made if it is missing.
            push_to_hub: also upload it (``repo_id`` and the rest go to ``push_to_hub``).
            settings: those of transformers' method; sharding does not apply to files this small.

        Raises:
            ValueError: if LoRA is merged: the adapter can no longer be told from the tower.
        """
        if self.laid_out is not None:
            raise ValueError(
                "A merged or packed model is for prediction only; save it outside packed(), or "
                "load it again."
            )
        if settings.get("is_main_process", True):
            save_weights(self, Path(save_directory))
        if push_to_hub:
            self.push_to_hub(settings.get("repo_id") or Path(save_directory).name)


AutoModel.register(ClaipEmoConfig, ClaipEmoModel)
__all__ = ["ClaipEmoModel", "ClaipEmoOutput", "TowerError"]
