"""A tower, its text encoder and the heads that teach it: what pre-training trains.

Three lessons: the soft labels of people, captions (which of a batch fit which sample, after CLIP),
and, for voices, what a frozen speech encoder makes of them. Only the first two leave something
behind: the projections and the text encoder; the head and the teacher's are thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ResNetConfig,
    VisionTextDualEncoderConfig,
)

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import BackboneError
from claip_emo.model.language import LanguageTower
from claip_emo.model.language_networks import FaceLanguage, VoiceLanguage
from claip_emo.model.prompts import Role
from claip_emo.model.resnet import pooled_over_time
from claip_emo.model.tokenization import byte_pairs
from claip_emo.model.towers import (
    AUDIO,
    VISION,
    TowerKind,
    build_tower,
    load_tower,
    resnet_columns,
)
from claip_emo.pretrain_recipe import LanguageRecipe

TEXT_MLP = 4  # times the width
MOST_TOKENS = 77
SPECIAL = ("bos", "eos", "pad")
STRUCTURE = ("num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act",
             "downsample_in_first_stage", "downsample_in_bottleneck")  # fmt: skip
SHARPEST = 100.0  # of cosines, as in CLIP


@dataclass(frozen=True, slots=True)
class Lesson:
    """A batch.

    Attributes:
        inputs: (batch, 1, S, S) normalised faces, or (batch, 1, F, M) log-mels in dB.
        targets: (batch, 7), shares; rows of zeros teach no class.
        captions: texts, one each.
        matches: (batch, batch), how well caption j fits sample i.
        teacher: (batch, width, column), what the speech encoder makes of a voice, standardised.
    """

    inputs: Tensor
    targets: Tensor
    captions: Sequence[str]
    matches: Tensor
    teacher: Tensor | None = None


class Learner(nn.Module):
    """A ResNet over faces or log-mels with all that teaches it.

    Args:
        role: ``vision`` or ``audio``.
        tower: sizes of the ResNet.
        recipe: of the language.
        texts: what the tokenizer learns from.
        teacher_width: of the speech encoder's features; 0: there is no teacher.
        adjustment: (7,), what the loss of labels adds to the logits, so that what is rare need not
            be doubted for that; None: nothing.
    """

    adjustment: Tensor

    def __init__(
        self,
        role: Role,
        tower: dict[str, Any],
        recipe: LanguageRecipe,
        texts: Sequence[str],
        teacher_width: int = 0,
        adjustment: Tensor | None = None,
    ):
        """Build everything with random weights."""
        super().__init__()
        self.role = role
        kinds: dict[str, TowerKind] = VISION if role == "vision" else AUDIO
        config = ResNetConfig(**tower)
        self.kind = kinds[config.model_type]
        width = self.kind.width(config)
        self.tower = build_tower(config, kinds).to(memory_format=self.kind.memory_format)
        self.tokenizer = byte_pairs(CLIPTokenizer, texts)
        language = FaceLanguage if role == "vision" else VoiceLanguage
        self.language = language(dual_config(config, recipe, self.tokenizer))
        self.head = nn.Linear(width, len(SEVEN))
        nothing = torch.zeros(len(SEVEN))
        self.register_buffer(
            "adjustment", nothing if adjustment is None else adjustment, persistent=False
        )
        self.as_pooled = nn.Linear(width, teacher_width) if teacher_width else None
        self.as_frames = nn.Linear(width // 2, teacher_width) if teacher_width else None

    def begin_with(self, former: Former) -> None:
        """Take tower, text encoder and tokenizer of a former pre-training; the heads stay new."""
        self.tower.load_state_dict(former.tower.state_dict())
        self.language = former.language.network.requires_grad_(True)
        self.tokenizer = former.language.tokenizer

    def forward(self, inputs: Tensor) -> Tensor:
        """Return pooled features (batch, width)."""
        return self.kind.pool(self.tower, inputs)

    def losses(self, lesson: Lesson, weights: dict[str, float]) -> dict[str, Tensor]:
        """Return the loss of each lesson that has a weight; their weighted sum is trained."""
        found = {}
        if lesson.teacher is None or self.as_pooled is None or self.as_frames is None:
            pooled = self(lesson.inputs)
        else:
            columns = resnet_columns(self.tower, lesson.inputs)
            pooled = pooled_over_time(columns)
            mean, frames = lesson.teacher.mean(dim=-1), lesson.teacher.transpose(1, 2)
            found["pooled"] = functional.mse_loss(self.as_pooled(pooled), mean)
            found["frames"] = functional.mse_loss(self.as_frames(columns.transpose(1, 2)), frames)
        found["labels"] = soft_loss(self.head(pooled) + self.adjustment, lesson.targets)
        found["captions"] = self.contrast(pooled, lesson.captions, lesson.matches)
        return {name: loss for name, loss in found.items() if weights.get(name)}

    def contrast(self, pooled: Tensor, captions: Sequence[str], matches: Tensor) -> Tensor:
        """Return how badly samples find their captions, and captions their samples."""
        media = functional.normalize(self.language.project(pooled), dim=-1)
        cosines = media @ self.embed_texts(captions).t()
        logits = self.language.scale.clamp(max=SHARPEST) * cosines
        return (soft_loss(logits, matches) + soft_loss(logits.t(), matches.t())) / 2

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return normalised embeddings (text, P)."""
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
        ).to(self.head.weight.device)
        found = self.language.text_model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )
        return functional.normalize(self.language.text_projection(found.pooler_output), dim=-1)


@dataclass(frozen=True, slots=True)
class Former:
    """What a former pre-training left: a tower, and its language side."""

    tower: PreTrainedModel
    language: LanguageTower


def former_of(folder: Path, role: Role, tower: dict[str, Any], recipe: LanguageRecipe) -> Former:
    """Load what a pre-training begins with.

    Args:
        folder: as ``save_tower`` writes it.
        role: ``vision`` or ``audio``.
        tower: sizes of the ResNet that the recipe asks for.
        recipe: of the language.

    Raises:
        BackboneError: if it cannot be read, or its sizes are others.
    """
    if not (folder / "config.json").is_file():
        raise BackboneError(
            f"{folder} holds no tower; --init takes the folder of a former pre-training, which "
            "holds vision/ or audio/."
        )
    try:
        language = LanguageTower.from_source(str(folder), role)
        found = load_tower(str(folder), VISION if role == "vision" else AUDIO)
    except SafetensorError as error:
        raise BackboneError(f"{folder} cannot be read: {error}") from error
    text = language.network.config.text_config
    wanted = {name: getattr(ResNetConfig(**tower), name) for name in STRUCTURE}
    sizes = {name: getattr(found.config, name) for name in STRUCTURE}
    wanted |= {"language.width": recipe.width, "language.layers": recipe.layers,
               "language.heads": recipe.heads}  # fmt: skip
    sizes |= {"language.width": text.hidden_size, "language.layers": text.num_hidden_layers,
              "language.heads": text.num_attention_heads}  # fmt: skip
    if other := [name for name in wanted if wanted[name] != sizes[name]]:
        raise BackboneError(
            f"{folder} has other sizes than the recipe: {other[0]} is {sizes[other[0]]}, not "
            f"{wanted[other[0]]}."
        )
    return Former(found, language)


def soft_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy to each row's shares; rows of zeros count nothing.

    Args:
        logits: (row, class).
        targets: (row, class), not negative; brought to a sum of 1.
    """
    total = targets.sum(dim=1)
    shares = targets / total.clamp(min=1e-12)[:, None]
    losses = -(shares * logits.float().log_softmax(dim=1)).sum(dim=1)
    return losses.sum() / (total > 0).sum().clamp(min=1)


def logit_adjustment(targets: Tensor, balance: float) -> Tensor:
    """Return what the loss adds to the logits (class,) for targets (sample, class)."""
    shares = targets.sum(dim=0) / targets.sum()
    return balance * shares.clamp(min=1e-6).log()


def dual_config(
    media: ResNetConfig, recipe: LanguageRecipe, tokenizer: PreTrainedTokenizerBase
) -> VisionTextDualEncoderConfig:
    """Return the configuration of an encoder beside a text encoder of the recipe's size."""
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in SPECIAL}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=TEXT_MLP * recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=MOST_TOKENS,
        projection_dim=recipe.width,
        **special,
    )
    return VisionTextDualEncoderConfig(
        vision_config=media.to_dict(), text_config=text.to_dict(), projection_dim=recipe.width
    )
