"""A whole model for prediction in NumPy: of checkpoints whose towers are ResNets.

To import torch takes twice as long as to read and score a clip of five seconds, and transformers
twice as long again. What is loaded here answers as ``ClaipEmoModel`` does, but for rounding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from claip_emo.labels import SEVEN, LabelSet
from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import (
    ADAPTER,
    CONFIG,
    MERGED,
    PEFT_PREFIX,
    TOWERS,
    CheckpointError,
    check_fit,
    read_arrays,
)
from claip_emo.model.description import Described, Modality
from claip_emo.model.folded_inputs import Inputs
from claip_emo.model.folded_layers import (
    Linear,
    Mean,
    ResNet,
    Transformer,
    pooled_over_space,
    pooled_over_time,
)
from claip_emo.model.processor_settings import ProcessorSettings, read_settings
from claip_emo.model.prompts import ROLES, Role
from claip_emo.model.resnet_layout import (
    MEL_BINS,
    MEL_CENTRE_DB,
    MEL_SPREAD_DB,
    Layout,
    is_known,
    layout_of,
    width_of,
)
from claip_emo.model.scoring import NO_FRAMES, score_clips
from claip_emo.model.stacking import Scores
from claip_emo.threads import one_for_each_product, together

Array = NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]

PIXELS_AT_ONCE = 2**15  # 8 frames of 64 px: what a convolution sees of them stays in the cache


@dataclass(kw_only=True, repr=False, eq=False)
class FoldedConfig(Described):
    """A checkpoint's ``config.json`` as it is read here.

    Attributes:
        store_towers: whether the checkpoint holds the towers.
    """

    store_towers: bool = True

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            ValueError: for those that are none.
        """
        self.labels = list(LabelSet(self.labels if self.labels is not None else SEVEN))
        self.check()

    @property
    def roles(self) -> list[Role]:
        """The towers that the model has."""
        reads = {"vision": self.reads_video, "audio": self.reads_audio}
        return [role for role in ROLES if reads[role]]

    @property
    def known_behind(self) -> bool:
        """Whether what comes behind the towers is known here: no LSTM, no fusion but concat."""
        return (self.temporal != "lstm" or not self.reads_video) and (
            self.fusion == "concat" or self.modality != "av"
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the configuration of a checkpoint, whatever its towers are.

        Raises:
            OSError: if there is none.
            ValueError: if it is none.
        """
        described = json.loads((folder / CONFIG).read_text("utf-8"))
        if not isinstance(described, dict):
            raise ValueError("it is no mapping")
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in described.items() if name in known})

    @classmethod
    def of_folder(cls, folder: Path) -> Self | None:
        """Read the configuration of a checkpoint; None if it is none of those known here.

        Known are towers that are ResNets, stored in it, with what ``known_behind`` says.
        """
        try:
            found = cls.read(folder)
            if not (found.store_towers and found.known_behind):
                return None
            for role in found.roles:
                sizes = getattr(found, f"{role}_config")
                if not is_known(sizes):
                    return None
                setattr(found, f"{role}_config", SimpleNamespace(**sizes))
            return found
        except (OSError, ValueError, TypeError, AttributeError):
            return None  # whoever reads it whole says what is wrong with it

    def fits(self, settings: ProcessorSettings) -> bool:
        """Say whether the towers take what a processor gives."""
        channels = {"vision": settings.image_channels, "audio": 1}
        wanted = all(
            getattr(self, f"{role}_config").num_channels == channels[role] for role in self.roles
        )
        return wanted and (self.temporal == "mean" or settings.num_frames <= self.num_frames)


class FoldedModel:
    """Towers, temporal module and head for prediction, with LoRA and BatchNorm folded in.

    Args:
        config: of the checkpoint.
        settings: what its towers want to see.
        towers: stored weights by name.
        adapter: LoRA, temporal module and head by name, without peft's prefix.
    """

    precision = "fp32"
    on_cpu = True

    def __init__(
        self,
        config: FoldedConfig,
        settings: ProcessorSettings,
        towers: dict[str, Array],
        adapter: dict[str, Array],
    ):
        """Fold the weights; which there are was checked."""
        self.config, self.settings, self.inputs = config, settings, Inputs(settings)
        scale = config.lora_alpha / config.lora_rank if config.adaptation == "lora" else None
        self.towers = {
            role: ResNet(
                layout_of(getattr(config, f"{role}_config")),
                _within(towers, f"{role}_tower.") | _within(adapter, f"{role}_tower."),
                scale,
            )
            for role in config.roles
        }
        self.widths = widths_of(config)
        self.temporal = (
            Transformer(_within(adapter, "temporal."), config.temporal_heads)
            if config.reads_video and config.temporal == "transformer"
            else Mean()
        )
        self.head = Linear(adapter, "head.classifier")

    @classmethod
    def of_folder(cls, folder: Path) -> Self | None:
        """Load a checkpoint; None if it is not one of those that are known here.

        Raises:
            CheckpointError: if a file is missing, broken, or another model's.
        """
        config = FoldedConfig.of_folder(folder)
        if config is None or not config.fits(settings := read_settings(folder)):
            return None
        if config.reads_audio and settings.mel_bins != MEL_BINS:
            raise CheckpointError(
                f"{folder}: its audio tower was made for log-mels of {MEL_BINS} bins, and its "
                f"processor gives {settings.mel_bins}."
            )
        stored, added = shapes_of(config)
        if (folder / MERGED).is_file():
            whole = _read(folder / MERGED, stored | added)
            return cls(config, settings, whole, whole)
        towers = _read(folder / TOWERS, stored)
        adapter = _read(folder / ADAPTER, _prefixed(PEFT_PREFIX, added))
        return cls(config, settings, towers, _within(adapter, PEFT_PREFIX))

    def score(self, clips: Sequence[Clip], modality: Modality = "av") -> Scores:
        """Score clips, with both modalities or with one of them masked, which then is not encoded.

        Raises:
            ModalityError: if the model does not read what is asked for.
        """
        return score_clips(self, clips, modality)

    def encode(
        self, frames: NDArray[np.uint8] = NO_FRAMES, sounds: Sequence[Array] = ()
    ) -> tuple[Array, Array]:
        """Turn crops (frame, S, S, 3) and pieces of sound (samples,) into features, beside another.

        Returns:
            (frame, video width) and (piece, audio width).
        """
        jobs = [partial(self._encode_sound, samples) for samples in sounds]
        jobs += [partial(self._encode_frames, few) for few in self._pieces(frames)]
        with one_for_each_product():
            encoded = together(jobs)
        heard, shown = encoded[: len(sounds)], encoded[len(sounds) :]
        nothing = {role: [np.zeros((0, width), np.float32)] for role, width in self.widths.items()}
        return (
            np.concatenate(shown or nothing["vision"]),
            np.stack(heard) if heard else nothing["audio"][0],
        )

    def over_time(self, frames: Array) -> Array:
        """Turn features of frames (batch, time, video width) into (batch, video width)."""
        with one_for_each_product():
            return self.temporal(frames)

    def attention(self, frames: Array) -> Array | None:
        """Return the CLS's attention to features (batch, time, video width), (batch, time)."""
        if not isinstance(self.temporal, Transformer):
            return None
        with one_for_each_product():
            return self.temporal.attention(frames)

    def fuse(self, video: Array, audio: Array) -> Array:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        with one_for_each_product():
            return self.head(np.concatenate([audio, video], axis=1))

    def _encode_frames(self, frames: NDArray[np.uint8]) -> Array:
        tower = self.towers["vision"]
        pixels = self.inputs.see(frames)
        features = pooled_over_space(tower(pixels))
        if self.settings.image_mirrored:
            features = (features + pooled_over_space(tower(pixels[:, :, ::-1]))) / 2
        return features

    def _encode_sound(self, samples: Array) -> Array:
        mels = (self.inputs.hear(samples) - MEL_CENTRE_DB) / MEL_SPREAD_DB
        tower = self.towers["audio"]
        windows = [pooled_over_time(tower(mel[None, :, :, None])) for mel in mels]
        return np.concatenate(windows).mean(axis=0)

    def _pieces(self, frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Divide frames into so few that a core's cache holds what it makes of them."""
        few = max(1, PIXELS_AT_ONCE // self.settings.image_size_px**2)
        return [frames[place : place + few] for place in range(0, len(frames), few)]


def _read(path: Path, wanted: Shapes) -> dict[str, Array]:
    """Read a file of weights that are to have those names and shapes."""
    found = read_arrays(path)
    check_fit(path, found, wanted)
    return found


def widths_of(config: FoldedConfig) -> dict[Role, int]:
    """Return how wide the vector of each tower is; 0: the model has none."""
    return {
        role: width_of(getattr(config, f"{role}_config"), role) if role in config.roles else 0
        for role in ROLES
    }


def shapes_of(config: FoldedConfig) -> tuple[Shapes, Shapes]:
    """Return names and shapes of the towers' weights, and of those that training added."""
    widths, stored, added = widths_of(config), Shapes(), Shapes()
    for role in config.roles:
        layout: Layout = layout_of(getattr(config, f"{role}_config"))
        for convolution in layout.convolutions:
            stored |= _prefixed(f"{role}_tower.", convolution.shapes)
            if config.adaptation == "lora":
                added |= _prefixed(f"{role}_tower.", convolution.lora_shapes(config.lora_rank))
    if config.reads_video and config.temporal == "transformer":
        added |= _prefixed("temporal.", Transformer.shapes(config, widths["vision"]))
    classes = len(config.labels)
    added["head.classifier.weight"] = (classes, sum(widths.values()))
    added["head.classifier.bias"] = (classes,)
    return stored, added


def _prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def _within(weights: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Return the weights whose names begin with a prefix, without it."""
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
