"""Networks of the language side: text encoder, projections and scale, as transformers has them.

CLIP and CLAP have classes of their own there. Any other encoder of pictures (or of log-mels, which
are pictures of one channel) beside a text encoder lies in transformers' container for such pairs,
``vision-text-dual-encoder``, under the same names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    ClapConfig,
    ClapTextModel,
    CLIPConfig,
    CLIPTextModel,
    PreTrainedModel,
    VisionTextDualEncoderConfig,
)
from transformers.models.clap.modeling_clap import ClapPreTrainedModel, ClapProjectionLayer
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from claip_emo.model.prompts import Role
from claip_emo.model.towers import AUDIO, VISION, kind_of


class ClipLanguage(CLIPPreTrainedModel):
    """What transformers' ``CLIPModel`` has besides its vision tower, under the same names."""

    config_class = CLIPConfig
    _keys_to_ignore_on_load_unexpected = (r"^vision_model\.", r"position_ids$")

    def __init__(self, config: CLIPConfig):
        """Build it with random weights."""
        super().__init__(config)
        text, width = config.text_config, config.projection_dim
        self.text_model = CLIPTextModel._from_config(text)
        self.text_projection = nn.Linear(text.hidden_size, width, bias=False)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.max_tokens = text.max_position_embeddings
        self.post_init()

    def project(self, pooled: Tensor) -> Tensor:
        """Project pooled features of frames (batch, width)."""
        return self.visual_projection(pooled)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax."""
        return self.logit_scale.exp()


class ClapLanguage(ClapPreTrainedModel):
    """What transformers' ``ClapModel`` has besides its audio tower, under the same names."""

    config_class = ClapConfig
    _keys_to_ignore_on_load_unexpected = (r"^audio_model\.", r"^logit_scale_t$")
    # Buffers of numbers from 0 on, which not every release of the weights holds.
    _keys_to_ignore_on_load_missing = (r"\.position_ids$", r"\.token_type_ids$")

    def __init__(self, config: ClapConfig):
        """Build it with random weights."""
        super().__init__(config)
        text = config.text_config
        self.text_model = ClapTextModel(text)
        self.text_projection = ClapProjectionLayer(text)
        self.audio_projection = ClapProjectionLayer(config.audio_config)
        start = torch.tensor(float(config.logit_scale_init_value))
        self.logit_scale_a = nn.Parameter(start.log())
        self.max_tokens = text.max_position_embeddings - text.pad_token_id - 1  # as RoBERTa counts
        self.post_init()

    def project(self, pooled: Tensor) -> Tensor:
        """Project pooled features of sounds (batch, width)."""
        return self.audio_projection(pooled)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax (those of a sound with texts)."""
        return self.logit_scale_a.exp()


class _DualLanguage(PreTrainedModel):
    """What a ``vision-text-dual-encoder`` has besides its encoder, under the same names.

    Its projection takes what the tower's kind makes of the encoder's output.
    """

    config_class = VisionTextDualEncoderConfig
    base_model_prefix = "vision_text_dual_encoder"
    role: Role
    _keys_to_ignore_on_load_unexpected = (r"^vision_model\.", r"position_ids$")

    def __init__(self, config: VisionTextDualEncoderConfig):
        """Build it with random weights."""
        super().__init__(config)
        text, media, width = config.text_config, config.vision_config, config.projection_dim
        kinds = VISION if self.role == "vision" else AUDIO
        self.text_model = AutoModel.from_config(text)
        self.text_projection = nn.Linear(text.hidden_size, width, bias=False)
        pooled = kind_of(media, kinds).width(media)
        self.visual_projection = nn.Linear(pooled, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.max_tokens = text.max_position_embeddings
        self.post_init()

    def project(self, pooled: Tensor) -> Tensor:
        """Project pooled features (batch, width)."""
        return self.visual_projection(pooled)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax."""
        return self.logit_scale.exp()


class FaceLanguage(_DualLanguage):
    """The language side of an encoder of faces."""

    role = "vision"


class VoiceLanguage(_DualLanguage):
    """The language side of an encoder of log-mels."""

    role = "audio"


LanguageNetwork = ClipLanguage | ClapLanguage | FaceLanguage | VoiceLanguage
NETWORKS: dict[Role, tuple[type[LanguageNetwork], ...]] = {
    "vision": (ClipLanguage, FaceLanguage),
    "audio": (ClapLanguage, VoiceLanguage),
}
"""Of each role, the kinds there are; the first is that of random text encoders."""
