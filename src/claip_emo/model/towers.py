"""Towers: encoders of transformers, found by architecture name, frozen, with LoRA attached.

A further encoder (SigLIP, a convolutional one, Whisper's, ...) is one more entry in ``VISION`` or
``AUDIO``: which part of a checkpoint's configuration it is, where LoRA goes, and how its output
becomes one vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.clap.modeling_clap import ClapAudioModel
from transformers.models.clip.modeling_clip import CLIPVisionModel
from transformers.models.resnet.modeling_resnet import ResNetModel

from claip_emo.hub import reachable
from claip_emo.model import clip_vit, htsat
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.description import TowerError
from claip_emo.model.packing import has_adapter
from claip_emo.model.precision import Precision
from claip_emo.model.resnet import columns_of, pooled_over_space, pooled_over_time, scaled
from claip_emo.model.resnet_layout import width_of

if TYPE_CHECKING:
    from peft import LoraConfig

PARTS = ("vision", "audio")  # of a two-tower configuration
DUAL_PREFIX = "vision_model."
"""Of a picture or log-mel encoder in transformers' container for any encoder beside text."""


@dataclass(frozen=True, slots=True)
class TowerKind:
    """What the model must know of an architecture.

    Attributes:
        model: the class that transformers builds it with.
        lora_targets: regular expression over module names inside the tower.
        pool: (tower, its input, checkpointing: bool) -> one vector per sample, (batch, width);
            gradients reach what is trained.
        width: configuration -> width of that vector.
        overrides: settings that hold here whatever a checkpoint's configuration says.
        prefix: what the names of the weights begin with in the whole two-tower checkpoint, where
            transformers does not know it itself.
        memory_format: how weights lie in memory; convolutions are a third faster with their
            channels last.
        packed: (tower, precision) -> a module that does what ``pool`` does, for prediction only;
            None: the tower itself predicts, with its adapters merged.
        checkpoints: whether ``pool`` can compute activations again instead of keeping them.
    """

    model: type[PreTrainedModel]
    lora_targets: str
    pool: Callable[..., Tensor]
    width: Callable[[PreTrainedConfig], int]
    overrides: tuple[tuple[str, Any], ...] = ()
    prefix: str | None = None
    memory_format: torch.memory_format = torch.contiguous_format
    packed: Callable[[nn.Module, Precision], nn.Module] | None = None
    checkpoints: bool = False

    def encode(self, tower: nn.Module, inputs: Tensor, checkpointing: bool = False) -> Tensor:
        """Encode with a tower as transformers has it, or with one that was packed."""
        if isinstance(tower, self.model):
            return self.pool(tower, inputs, checkpointing=checkpointing)
        return tower(inputs)

    def pack(self, tower: nn.Module, precision: Precision) -> nn.Module:
        """Return what predicts as the tower does, with its adapters folded in.

        The tower is left as it is where it is laid out anew, else its adapters are merged.

        Raises:
            TowerError: if the architecture is there in float32 only.
        """
        if self.packed is not None:
            return self.packed(tower, precision)
        if precision != "fp32":
            raise TowerError(
                f"A {tower.config.model_type} tower predicts in fp32 only; choose --precision fp32."
            )
        merge_adapters(tower)
        return tower


def _resnet_pooled(tower: nn.Module, pixels: Tensor, checkpointing: bool = False) -> Tensor:
    return pooled_over_space(tower(pixel_values=pixels).last_hidden_state)


def _resnet_over_time(tower: nn.Module, mel: Tensor, checkpointing: bool = False) -> Tensor:
    return pooled_over_time(resnet_columns(tower, mel))


def resnet_columns(tower: nn.Module, mel: Tensor) -> Tensor:
    """Return what a ResNet hears in (batch, 1, F, M) over time, (batch, channel x band, time)."""
    return columns_of(tower(pixel_values=scaled(mel)).last_hidden_state)


VISION: dict[str, TowerKind] = {
    "clip_vision_model": TowerKind(
        CLIPVisionModel,
        r".*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
        clip_vit.pooled,
        lambda config: config.hidden_size,
        packed=clip_vit.PackedCLIPVision,
        checkpoints=True,
    ),
    "resnet": TowerKind(
        ResNetModel,
        r".*\.convolution",
        _resnet_pooled,
        lambda config: width_of(config, "vision"),
        prefix=DUAL_PREFIX,
        memory_format=torch.channels_last,
    ),
}
AUDIO: dict[str, TowerKind] = {
    "clap_audio_model": TowerKind(
        ClapAudioModel,
        # Attention output and both MLP layers; the fused qkv of the original, here query, key and
        # value, and the patch convolution are left alone.
        r".*\.blocks\..*\.(attention\.output|intermediate|output)\.dense",
        htsat.pooled,
        lambda config: config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1),
        # Fused weights without the fusion branch give the same output (clips are never longer);
        # the dropouts are those of the paper's HTS-AT: none but stochastic depth.
        (("enable_fusion", False), ("hidden_dropout_prob", 0.0), ("drop_path_rate", 0.1)),
        prefix="audio_model.",
        packed=htsat.PackedHTSAT,
        checkpoints=True,
    ),
    "resnet": TowerKind(
        ResNetModel,
        r".*\.convolution",
        _resnet_over_time,
        lambda config: width_of(config, "audio"),
        prefix=DUAL_PREFIX,
        memory_format=torch.channels_last,
    ),
}


def kind_of(config: PreTrainedConfig, kinds: dict[str, TowerKind]) -> TowerKind:
    """Return the entry of an architecture.

    Raises:
        TowerError: if there is none; the message lists those that exist.
    """
    if config.model_type not in kinds:
        raise _unknown(config, kinds)
    return kinds[config.model_type]


def _unknown(config: PreTrainedConfig, kinds: dict[str, TowerKind]) -> TowerError:
    return TowerError(
        f"No tower is known for the architecture {config.model_type!r}; known are "
        f"{', '.join(kinds)}. A new one is one entry in claip_emo/model/towers.py."
    )


def prepared(config: PreTrainedConfig, kinds: dict[str, TowerKind]) -> PreTrainedConfig:
    """Apply the settings that hold for an architecture here to a checkpoint's configuration."""
    for name, value in kind_of(config, kinds).overrides:
        setattr(config, name, value)
    return config


def lora_config(config: ClaipEmoConfig) -> LoraConfig:
    """Return the one PEFT configuration that covers the towers the model has."""
    from peft import LoraConfig  # seconds that a model without LoRA need not wait for

    targets = []
    if config.reads_video:
        targets.append(rf"(vision_tower\.{kind_of(config.vision_config, VISION).lora_targets})")
    if config.reads_audio:
        targets.append(rf"(audio_tower\.{kind_of(config.audio_config, AUDIO).lora_targets})")
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        bias="none",
        target_modules="|".join(targets),
        modules_to_save=["temporal", "head"] if config.reads_video else ["head"],
    )


def towers_of(model: nn.Module) -> list[nn.Module]:
    """Return the towers that a model has, the vision tower first."""
    return [tower for tower in (model.vision_tower, model.audio_tower) if tower is not None]


def adapt(model: nn.Module, config: ClaipEmoConfig) -> None:
    """Freeze or adapt the towers of a model as the configuration says.

    ``lora`` freezes the towers' parameters and puts LoRA beside them, ``frozen`` only freezes,
    ``full`` leaves everything trainable. Buffers of frozen towers stay as they are too: see
    ``settle``.
    """
    if config.adaptation == "full":
        return
    for tower in towers_of(model):
        tower.requires_grad_(False)
    if config.adaptation == "lora":
        from peft import inject_adapter_in_model

        recipe = lora_config(config)
        recipe.modules_to_save = None  # the heads are no adapters: they stay plain modules
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        inject_adapter_in_model(recipe, model)
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.requires_grad_(True)


def settle(model: nn.Module, config: ClaipEmoConfig) -> None:
    """Keep what is frozen in evaluation mode while the rest trains.

    Normalisation statistics are buffers that move in training mode although no gradient reaches
    them: in frozen and LoRA-adapted towers they stay in evaluation mode, and towers that nothing
    adapts stay in it whole.
    """
    if config.adaptation == "full":
        return
    for tower in towers_of(model):
        if config.adaptation == "frozen":
            tower.eval()
            continue
        for module in tower.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def merge_adapters(model: nn.Module) -> int:
    """Fold LoRA into the towers' own weights, in place; return how many layers were merged."""
    merged = 0
    for name, module in list(model.named_modules()):
        if has_adapter(module):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
            merged += 1
    return merged


def build_tower(config: PreTrainedConfig, kinds: dict[str, TowerKind]) -> PreTrainedModel:
    """Build a tower of a configuration with random weights."""
    return kind_of(config, kinds).model(prepared(config, kinds))


def tower_config(
    source: str, kinds: dict[str, TowerKind], *, revision: str | None = None
) -> PreTrainedConfig:
    """Read the configuration of one tower from a hub id or folder, whole or single-tower.

    Raises:
        OSError: if it cannot be read.
        TowerError: if none of the architectures known for this role is in it.
    """
    config = AutoConfig.from_pretrained(
        source, revision=revision or "main", local_files_only=not reachable()
    )
    for inner in (config, *(getattr(config, f"{part}_config", None) for part in PARTS)):
        if getattr(inner, "model_type", None) in kinds:
            return inner
    raise _unknown(config, kinds)


def load_tower(
    source: str, kinds: dict[str, TowerKind], *, revision: str | None = None
) -> PreTrainedModel:
    """Load one tower from a hub id or a folder that holds the whole two-tower checkpoint.

    Raises:
        TowerError: if weights of the tower are missing from the checkpoint.
        OSError: if files are missing, as transformers reports it.
    """
    config = prepared(tower_config(source, kinds, revision=revision), kinds)
    kind = kind_of(config, kinds)
    model, info = kind.model.from_pretrained(
        source,
        config=config,
        revision=revision or "main",
        dtype=torch.float32,  # a checkpoint may be in half precision; training is not
        local_files_only=not reachable(),
        key_mapping={f"^{re.escape(kind.prefix)}": ""} if kind.prefix else None,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise TowerError(
            f"{source} lacks {len(missing)} weights of its {config.model_type}, for example "
            f"{missing[0]}: the checkpoint is incomplete or of another architecture."
        )
    return model
