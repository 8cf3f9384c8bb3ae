"""A whole model for prediction, without transformers: of checkpoints whose towers are ResNets.

To import transformers' models alone takes longer than to read a clip of five seconds. What is
loaded here answers as ``ClaipEmoModel`` does, but for rounding.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from claip_emo.labels import SEVEN, LabelSet
from claip_emo.model.checkpoint_folder import (
    ADAPTER,
    CONFIG,
    PEFT_PREFIX,
    TOWER_NAMES,
    TOWERS,
    misfit,
    misshapen,
    read_weights,
)
from claip_emo.model.description import Described, TowerError
from claip_emo.model.heads import build_fusion, build_temporal
from claip_emo.model.precision import Precision
from claip_emo.model.prompts import ROLES, Role
from claip_emo.model.resnet import FoldedResNet, ShapeError, foldable, width_of
from claip_emo.model.waveforms import over_windows

if TYPE_CHECKING:
    from claip_emo.model.batching import Predictor


class FoldedConfig(Described):
    """A checkpoint's ``config.json`` as it is read here.

    Attributes:
        store_towers: whether the checkpoint holds the towers.
    """

    store_towers: bool = True

    def __init__(self, described: dict[str, Any]):
        """Take what is described, and defaults for what is not.

        Raises:
            ValueError: for choices that are none.
        """
        for name, value in described.items():
            if name in self.__annotations__ or name in Described.__annotations__:
                setattr(self, name, value)
        self.labels = list(LabelSet(self.labels if self.labels is not None else SEVEN))
        self.check()

    @property
    def roles(self) -> list[Role]:
        """The towers that the model has."""
        reads = {"vision": self.reads_video, "audio": self.reads_audio}
        return [role for role in ROLES if reads[role]]

    @classmethod
    def of_folder(cls, folder: Path) -> FoldedConfig | None:
        """Read the configuration of a checkpoint; None if its towers are not ResNets it holds."""
        try:
            found = cls(json.loads((folder / CONFIG).read_text("utf-8")))
            if not found.store_towers:
                return None
            for role in found.roles:
                sizes = getattr(found, f"{role}_config")
                if not foldable(sizes):
                    return None
                setattr(found, f"{role}_config", SimpleNamespace(**sizes))
            return found
        except (OSError, ValueError, TypeError, AttributeError):
            return None  # whoever reads it whole says what is wrong with it


class FoldedModel(nn.Module):
    """Towers, temporal module and head for prediction, with LoRA and BatchNorm folded in.

    Args:
        config: of the checkpoint.
        towers: of the roles that the configuration reads.
    """

    def __init__(self, config: FoldedConfig, towers: dict[Role, FoldedResNet]):
        """Take the towers; temporal module and head get random weights."""
        super().__init__()
        self.config = config
        self.vision_tower, self.audio_tower = towers.get("vision"), towers.get("audio")
        widths = {role: width_of(getattr(config, f"{role}_config"), role) for role in config.roles}
        self.video_width, self.audio_width = widths.get("vision", 0), widths.get("audio", 0)
        self.temporal = build_temporal(config, self.video_width) if config.reads_video else None
        self.head = build_fusion(config, self.audio_width, self.video_width)

    @classmethod
    def from_folder(cls, folder: Path, config: FoldedConfig) -> Self:
        """Load a checkpoint.

        Args:
            folder: of the checkpoint.
            config: what ``FoldedConfig.of_folder`` returned.

        Raises:
            CheckpointError: if a file is missing, broken, or another model's.
        """
        adapter, stored = read_weights(folder / ADAPTER), read_weights(folder / TOWERS)
        towers: dict[Role, FoldedResNet] = {
            role: _folded(folder, config, role, stored, adapter) for role in config.roles
        }
        if stored:
            raise misfit(folder / TOWERS, set(stored))
        model = cls(config, towers)
        wanted = {
            PEFT_PREFIX + name: value
            for name, value in model.state_dict().items()
            if not name.startswith(TOWER_NAMES)
        }
        if wanted.keys() != adapter.keys():
            raise misfit(folder / ADAPTER, wanted.keys() ^ adapter.keys())
        for name, value in adapter.items():
            if value.shape != wanted[name].shape:
                raise misshapen(folder / ADAPTER, name, value.shape, wanted[name].shape)
            wanted[name].copy_(value)
        return model.eval().requires_grad_(False)

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Turn frames (frame, channel, height, width) into features (frame, video width)."""
        return self.vision_tower(pixels)

    def over_time(self, frames: Tensor) -> Tensor:
        """Turn features of frames (batch, time, width) into features (batch, video width)."""
        return self.temporal(frames.to(self.head_dtype))

    def encode_audio(self, input_features: Tensor) -> Tensor:
        """Turn log-mels (batch, window, time, mel) in dB into features (batch, audio width)."""
        return over_windows(self.audio_tower, input_features)

    def fuse(self, video: Tensor, audio: Tensor) -> Tensor:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        return self.head(audio.to(self.head_dtype), video)

    @property
    def head_dtype(self) -> torch.dtype:
        """The number type of the head's weights."""
        return next(self.head.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.head.parameters()).device

    def merge(self, precision: Precision = "fp32") -> Self:
        """Do nothing: all is folded already.

        Raises:
            TowerError: for another precision than fp32.
        """
        if precision != "fp32":
            raise TowerError("A resnet tower predicts in fp32 only; choose --precision fp32.")
        return self


def load_predictor(folder: Path) -> Predictor:
    """Load what predicts with a checkpoint: folded where that can be, else the whole model.

    Raises:
        CheckpointError: if it is an incomplete checkpoint.
        BackboneError: if the towers it refers to cannot be had.
    """
    config = FoldedConfig.of_folder(folder)
    if config is not None:
        return FoldedModel.from_folder(folder, config)
    from claip_emo.model.modeling import ClaipEmoModel  # seconds of transformers

    return ClaipEmoModel.from_pretrained(folder)


def _folded(
    folder: Path,
    config: FoldedConfig,
    role: Role,
    stored: dict[str, Tensor],
    adapter: dict[str, Tensor],
) -> FoldedResNet:
    """Take the weights of a tower out of what both files hold, and fold them."""
    prefix = f"{role}_tower."
    plain, added = _taken(stored, prefix), _taken(adapter, PEFT_PREFIX + prefix)

    def where(name: str) -> tuple[Path, str]:
        if ".lora_" in name:
            return folder / ADAPTER, PEFT_PREFIX + prefix + name
        return folder / TOWERS, prefix + name

    if wrong := {PEFT_PREFIX + prefix + name for name in added if ".lora_" not in name}:
        raise misfit(folder / ADAPTER, wrong)
    lora = None
    if config.adaptation == "lora":
        lora = config.lora_rank, config.lora_alpha / config.lora_rank
    try:
        return FoldedResNet(getattr(config, f"{role}_config"), role, plain | added, lora)
    except KeyError as error:
        found = [where(name) for name in error.args]
        raise misfit(found[0][0], {name for path, name in found if path == found[0][0]}) from error
    except ShapeError as error:
        name, *shapes = error.args
        path, name = where(name)
        raise misshapen(path, name, *shapes) from error


def _taken(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take out of a state what begins with a prefix; return it without."""
    names = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in names}
