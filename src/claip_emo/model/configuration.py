"""The configuration of a CLAIP-Emo model: towers, adaptation, temporal module, head."""

from __future__ import annotations

from typing import Any, get_args

from transformers import AutoConfig, PreTrainedConfig

from claip_emo.labels import SEVEN, LabelSet
from claip_emo.model.description import Described, Modality, one_of


class ClaipEmoConfig(Described, PreTrainedConfig):
    """Everything that decides the shape of a model, and where its towers come from.

    ``vision_config`` and ``audio_config`` are configurations of transformers' own architectures
    (or their dictionaries, which name the architecture as ``model_type``). ``vision_source`` and
    ``audio_source`` are the hub ids or folders the towers' weights were taken from; None means
    weights that exist nowhere else. ``store_towers`` says whether a checkpoint must carry the
    towers because they cannot be fetched again unchanged by id and revision. ``vision_text`` and
    ``audio_text`` are the hub ids or folders whose text encoders and projections the zero-shot
    baseline takes: those of the towers, unless others are named.

    ``modality`` is what the model reads: face and voice, or one of them alone; then it has no
    tower for the other, and its configuration names none.

    LoRA's rank, alpha and dropout are those of the paper's released code (8, 32, 0.1), the
    temporal Transformer is 8 heads x 64 and an MLP of 1024. ``fusion_width`` is the width that
    ``sum``, ``gated`` and ``cross_attention`` project face and voice to, at most: it is never more
    than that of the narrower feature.
    """

    model_type = "claip_emo"
    has_no_defaults_at_init = True

    backbone: str = "vit-b32"
    vision_source: str | None = None
    vision_revision: str | None = None
    audio_source: str | None = None
    audio_revision: str | None = None
    vision_text: str | None = None
    audio_text: str | None = None
    store_towers: bool = True
    lora_dropout: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the towers' configurations from their dictionaries and check the choices."""
        super().__post_init__(**kwargs)
        one_of("modality", self.modality, get_args(Modality))
        for role, needed in (("vision", self.reads_video), ("audio", self.reads_audio)):
            if not needed:
                for what in ("config", "source", "revision", "text"):
                    setattr(self, f"{role}_{what}", None)
        self.vision_text = self.vision_text or self.vision_source
        self.audio_text = self.audio_text or self.audio_source
        if self.reads_video:
            self.vision_config = _as_config(self.vision_config, "clip_vision_model")
        if self.reads_audio:
            self.audio_config = _as_config(self.audio_config, "clap_audio_model")
        names = LabelSet(self.labels if self.labels is not None else SEVEN)
        self.labels = list(names)
        self.id2label = dict(enumerate(names))
        self.label2id = {name: place for place, name in enumerate(names)}
        self.check()


def _as_config(value: Any, default_model_type: str) -> PreTrainedConfig:
    if isinstance(value, PreTrainedConfig):
        return value
    fields = dict(value or {})
    return AutoConfig.for_model(fields.pop("model_type", default_model_type), **fields)


AutoConfig.register(ClaipEmoConfig.model_type, ClaipEmoConfig)
