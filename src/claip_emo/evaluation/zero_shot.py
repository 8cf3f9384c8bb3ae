"""The language prior alone: prompts against the embeddings of faces and voices, nothing trained.

CLIP compares frames with what is said of faces, CLAP compares sounds with what is said of voices;
the two are fused late, by the weighted mean of their log probabilities.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from claip_emo.labels import LabelError, LabelSet
from claip_emo.model import checkpoint_folder as store
from claip_emo.model.backbones import (
    Backbone,
    LanguageError,
    configure,
    resolve,
)
from claip_emo.model.checkpoint import load_towers
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.heads import given
from claip_emo.model.language import LanguageTower, language_of
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.prompts import Role, is_known, prompts
from claip_emo.model.towers import AUDIO, VISION, kind_of
from claip_emo.model.waveforms import over_windows

logger = logging.getLogger(__name__)

ZERO_SHOT = "zero-shot"
FACE_WEIGHT = 0.5
SEED = 0  # of the random towers of a backbone that has no source
NO_DIFFERENCE = 1e-5  # between embeddings of length 1: rounding, not words


class ZeroShotModel(nn.Module):
    """Scores faces and voices by what CLIP and CLAP know of the labels' words.

    It has what ``model.batching.score`` asks of a model, so that whatever scores a trained model
    scores it too. Its logits are log probabilities.

    - Text: the prompts of a label are embedded, normalised, averaged, normalised again.
    - Face: the embedding of each frame is normalised; their mean is normalised again.
    - p_v and p_a are the softmax of cosine x the checkpoint's scale.
    - Both: softmax of w log p_v + (1 - w) log p_a. Where one is missing the other stands alone,
      where both are, all labels are equally likely.

    Args:
        model: whose towers are taken, unadapted.
        language: the language side of each tower that the model has.
        face_weight: w, between 0 and 1.
    """

    def __init__(
        self,
        model: ClaipEmoModel,
        language: Mapping[Role, LanguageTower],
        face_weight: float = FACE_WEIGHT,
    ):
        """Embed the prompts of the model's labels.

        Raises:
            ValueError: if the weight is not between 0 and 1.
            LabelError: if two labels have the same prompts.
            LanguageError: if the tokenizer or the text encoder makes no difference between labels.
        """
        super().__init__()
        if not 0 <= face_weight <= 1:
            raise ValueError(f"The weight of the face lies between 0 and 1; it is {face_weight}.")
        self.config: ClaipEmoConfig = copy.deepcopy(model.config)
        # A trained head's; the checkpoint's own scale is used here.
        self.config.temperature, self.config.logit_shift = 1.0, None
        self.config.abstain_below = None
        self.face_weight = face_weight
        self.vision_tower, self.audio_tower = model.vision_tower, model.audio_tower
        self.language = nn.ModuleDict(dict(language))
        self.requires_grad_(False).float().eval()
        for label in self.config.labels:
            if not is_known(label):
                logger.warning("No words are known for the label %r: its name is used.", label)
        for role, tower in language.items():
            self.register_buffer(f"{role}_labels", embed_labels(tower, self.config.labels, role))

    @classmethod
    def from_checkpoint(cls, source: str | Path, face_weight: float = FACE_WEIGHT) -> ZeroShotModel:
        """Take the labels of a checkpoint and its towers as they were before training.

        Args:
            source: a run's folder, its ``model/``, or a hub id.
            face_weight: of the face against the voice.

        Raises:
            CheckpointError: if it is no checkpoint, or an incomplete one.
            LanguageError: if it has no text encoders, or only towers that training has changed.
            BackboneError: if the sources that it names cannot be had.
        """
        folder = store.resolve(source)
        config = ClaipEmoConfig.from_pretrained(folder)
        changed = config.adaptation == "full"
        if changed and (lost := [role for role in roles_of(config) if not _source(config, role)]):
            raise LanguageError(
                f"The {' and the '.join(lost)} tower of {folder} had random weights, which "
                "training has changed (adaptation: full): what it knew before is not stored. Take "
                "a checkpoint with adaptation lora or frozen."
            )
        config.adaptation = "frozen"
        if config.store_towers and not changed:
            model = ClaipEmoModel(config)
            load_towers(model, folder)
        else:
            model = ClaipEmoModel.from_backbone(config)
        language = {role: language_of(config, role, folder) for role in roles_of(config)}
        return cls(model, language, face_weight)

    @classmethod
    def from_backbone(
        cls, backbone: str | Backbone, labels: LabelSet, face_weight: float = FACE_WEIGHT
    ) -> ZeroShotModel:
        """Take the towers of a backbone and any labels.

        Raises:
            BackboneError: for an unknown name, or towers that cannot be had.
            LanguageError: if they have no text encoders.
        """
        found = resolve(backbone) if isinstance(backbone, str) else backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            model = ClaipEmoModel.from_backbone(configure(found, labels, adaptation="frozen"))
        language = {role: language_of(model.config, role) for role in roles_of(model.config)}
        return cls(model, language, face_weight)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @property
    def head_dtype(self) -> torch.dtype:
        """The number type that it computes in."""
        return next(self.parameters()).dtype

    @property
    def video_width(self) -> int:
        """Size of a face's embedding; 0 without a vision tower."""
        return self.language["vision"].width if "vision" in self.language else 0

    @property
    def audio_width(self) -> int:
        """Size of a voice's embedding; 0 without an audio tower."""
        return self.language["audio"].width if "audio" in self.language else 0

    def encode_video(self, pixel_values: Tensor) -> Tensor:
        """Turn frames (batch, time, channel, height, width) into embeddings (batch, P)."""
        batch, time = pixel_values.shape[:2]
        return self.over_time(self.encode_frames(pixel_values.flatten(0, 1)).view(batch, time, -1))

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Turn frames (frame, channel, height, width) into embeddings (frame, P)."""
        encode = kind_of(self.config.vision_config, VISION).encode
        return self.language["vision"].embed_media(encode(self.vision_tower, pixels))

    def over_time(self, frames: Tensor) -> Tensor:
        """Turn embeddings of frames (batch, time, P) into one for each clip, (batch, P)."""
        return functional.normalize(frames.mean(dim=1), dim=-1)

    def encode_audio(self, input_features: Tensor) -> Tensor:
        """Turn log-mels (batch, window, time, mel) in dB into embeddings (batch, P)."""
        encode = kind_of(self.config.audio_config, AUDIO).encode
        heard = over_windows(lambda mel: encode(self.audio_tower, mel), input_features)
        return self.language["audio"].embed_media(heard)

    def fuse(self, video: Tensor, audio: Tensor) -> Tensor:
        """Turn embeddings (batch, P) of faces and voices into log probabilities (batch, classes).

        A row of zeros is a modality that is missing.
        """
        face, seen = self._against_labels(video, "vision")
        voice, heard = self._against_labels(audio, "audio")
        both = self.face_weight * face + (1 - self.face_weight) * voice
        # What is missing is 0 for every label: the sum is the one that is there, or uniform.
        return torch.where(seen & heard, both, face + voice).log_softmax(dim=-1)

    def _against_labels(self, embeddings: Tensor, role: Role) -> tuple[Tensor, Tensor]:
        """Return log probabilities (batch, classes), and which rows (batch, 1) are there at all."""
        there = given(embeddings)
        if role not in self.language:
            return embeddings.new_zeros(len(embeddings), len(self.config.labels)), there
        cosines = embeddings @ getattr(self, f"{role}_labels").T
        logits = (self.language[role].scale * cosines).log_softmax(dim=-1)
        return torch.where(there, logits, torch.zeros_like(logits)), there

    def count_parameters(self) -> dict[str, Any]:
        """Count parameters as ``ClaipEmoModel`` does: none is trained."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return {"total": total, "trainable": 0, "share": 0.0, "parts": {}}


def embed_labels(tower: LanguageTower, labels: Sequence[str], role: Role) -> Tensor:
    """Return one normalised embedding per label (classes, P): the mean over its prompts.

    Raises:
        LabelError: if two labels have the same prompts.
        LanguageError: if prompts of different labels become the same ids or the same embedding.
    """
    said = [prompts(label, role) for label in labels]
    if twins := _first_twins(said):
        one, other = (labels[place] for place in twins)
        raise LabelError(
            f"The labels {one!r} and {other!r} are the same in words ({said[twins[0]][0]!r}): "
            "zero-shot cannot tell them apart. Give one of them another name."
        )
    for templated in zip(*said, strict=True):
        ids = tower.token_ids(templated)
        # A prompt has several words: all alike between its ends, they are unknown, every one.
        if empty := [text for text, row in zip(templated, ids, strict=True) if _same(row[1:-1])]:
            raise LanguageError(
                f"The tokenizer of {tower.name} knows no word of {empty[0]!r}: its files are empty "
                "or not those of the text encoder."
            )
        if twins := _first_twins(ids):
            one, other = (templated[place] for place in twins)
            raise LanguageError(
                f"The tokenizer of {tower.name} gives {one!r} and {other!r} the same ids: its "
                "files are not those of the text encoder, or the labels are too long for it."
            )
    each = [tower.embed_texts(texts) for texts in said]
    found = functional.normalize(torch.stack(each).mean(dim=1), dim=-1)  # (classes, P)
    apart = (found[:, None] - found[None]).norm(dim=-1) + torch.eye(len(found))
    if apart.min() < NO_DIFFERENCE:
        one, other = (labels[int(place)] for place in (apart < NO_DIFFERENCE).nonzero()[0])
        raise LanguageError(
            f"The text encoder of {tower.name} gives {one!r} and {other!r} the same embedding: its "
            "end-of-text id (eos_token_id in config.json) is not that of its tokenizer."
        )
    return found


def _same(ids: Sequence[int]) -> bool:
    return len(set(ids)) < 2


def _first_twins(items: Sequence[Sequence[Any]]) -> tuple[int, int] | None:
    """Return the places of the first two items that are equal."""
    seen: dict[tuple[Any, ...], int] = {}
    for place, item in enumerate(items):
        former = seen.setdefault(tuple(item), place)
        if former != place:
            return former, place
    return None


def roles_of(config: ClaipEmoConfig) -> list[Role]:
    """Return the roles of the towers that a model has."""
    reads: dict[Role, bool] = {"vision": config.reads_video, "audio": config.reads_audio}
    return [role for role, needed in reads.items() if needed]


def _source(config: ClaipEmoConfig, role: Role) -> str | None:
    return getattr(config, f"{role}_source")
