"""The language side of CLIP and CLAP: text encoder, projections and scale, with their tokenizer.

The towers give pooled features before projection; a ``LanguageTower`` carries these and any text
into the space that both share, as the checkpoint was trained. It comes from the same hub id or
folder as its tower. Where the tower cannot be fetched again (random weights, a local folder), the
checkpoint of a model carries the language side too, in ``language-vision/`` and
``language-audio/``: ``config.json``, ``model.safetensors``, ``tokenizer.json``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from claip_emo.hub import reachable
from claip_emo.model.backbones import (
    BACKBONES,
    WEIGHTS,
    BackboneError,
    LanguageError,
    explain_missing,
)
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.language_networks import NETWORKS, LanguageNetwork
from claip_emo.model.prompts import ROLES, Role
from claip_emo.model.tokenization import load_tokenizer, train_tokenizer

logger = logging.getLogger(__name__)

SEED = 0  # of random text encoders, so that a run that goes on writes the same


class LanguageTower(nn.Module):
    """Text encoder, projections of text and media, scale, and the tokenizer, frozen.

    Args:
        network: the weights.
        tokenizer: of the same checkpoint.
        name: where they come from, for messages.
    """

    def __init__(self, network: LanguageNetwork, tokenizer: PreTrainedTokenizerBase, name: str):
        """Take the parts and freeze them."""
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name

    @property
    def width(self) -> int:
        """Size P of the space that text and media share."""
        return int(self.network.config.projection_dim)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied by before the softmax."""
        return self.network.scale

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, cut to what the encoder takes."""
        return self._tokens(texts)["input_ids"]

    def _tokens(self, texts: Sequence[str], **form: Any) -> Any:
        longest = self.network.max_tokens
        return self.tokenizer(list(texts), truncation=True, max_length=longest, **form)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return normalised embeddings (text, P)."""
        batch = self._tokens(texts, padding=True, return_tensors="pt").to(self.network.device)
        found = self.network.text_model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        )
        return functional.normalize(self.network.text_projection(found.pooler_output), dim=-1)

    def embed_media(self, pooled: Tensor) -> Tensor:
        """Return normalised embeddings (batch, P) of a tower's pooled features (batch, width)."""
        return functional.normalize(self.network.project(pooled), dim=-1)

    def save(self, folder: Path) -> None:
        """Write configuration, weights and tokenizer into a folder that ``from_source`` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self.network.config.save_pretrained(folder)
        state = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(state, folder / WEIGHTS[0], metadata={"format": "pt"})
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def from_source(cls, source: str, role: Role, *, revision: str | None = None) -> LanguageTower:
        """Load the language side from a hub id or a folder with a whole CLIP or CLAP checkpoint.

        Args:
            source: hub id or folder.
            role: ``vision`` for CLIP, ``audio`` for CLAP.
            revision: of the hub id.

        Raises:
            LanguageError: if it has no text encoder, weights are missing, or the tokenizer is.
            BackboneError: if its files cannot be had.
        """
        where: dict[str, Any] = {
            "revision": revision or "main",
            "local_files_only": not reachable(),
        }
        try:
            config = AutoConfig.from_pretrained(source, **where)
            known = {kind.config_class.model_type: kind for kind in NETWORKS[role]}
            if config.model_type not in known:
                raise LanguageError(
                    f"{source} has no text encoder for the {role} tower: it holds a "
                    f"{config.model_type}, not a whole {' or '.join(known)} checkpoint."
                )
            kind = known[config.model_type]
            network, info = kind.from_pretrained(
                source, config=config, dtype=torch.float32, output_loading_info=True, **where
            )
            missing = sorted(info["missing_keys"])
            if missing:
                raise LanguageError(
                    f"{source} lacks {len(missing)} weights of its text side, for example "
                    f"{missing[0]}: the checkpoint is incomplete."
                )
            return cls(network, load_tokenizer(source, where), source)
        except OSError as error:
            raise BackboneError(explain_missing(source, error)) from error

    @classmethod
    def random(
        cls,
        role: Role,
        sizes: dict[str, Any],
        media: PreTrainedConfig,
        labels: Iterable[str] = (),
    ) -> LanguageTower:
        """Build a small random one, always the same, with a tokenizer trained on the prompts.

        Args:
            role: ``vision`` or ``audio``.
            sizes: of the text encoder; ``projection_dim`` is P.
            media: configuration of the tower whose features it projects.
            labels: whose prompts the tokenizer knows, besides all that have words.
        """
        tokenizer = train_tokenizer(role, labels)
        special = {
            f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
            for name in ("bos", "eos", "pad")
        }
        kind = NETWORKS[role][0]
        config = kind.config_class(
            text_config={**sizes, **special, "vocab_size": len(tokenizer)},
            projection_dim=sizes["projection_dim"],
            **{f"{role}_config": media.to_dict()},
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return cls(kind(config), tokenizer, "random weights")


def language_of(config: ClaipEmoConfig, role: Role, folder: Path | None = None) -> LanguageTower:
    """Return the language side of a model's tower.

    Args:
        config: of the model.
        role: ``vision`` or ``audio``.
        folder: the model's checkpoint; None for a backbone that nothing was trained with.

    Raises:
        LanguageError: if the tower has none.
        BackboneError: if the source that the configuration names cannot be had.
        CheckpointError: if what the checkpoint stores cannot be read.
    """
    if folder is not None and (stored := folder / folder_name(role)).is_dir():
        try:
            return LanguageTower.from_source(str(stored), role)
        except (BackboneError, SafetensorError) as error:
            raise CheckpointError(
                f"{stored} cannot be read: {str(error).splitlines()[0]}"
            ) from error
    if (source := getattr(config, f"{role}_text")) is not None:
        same = source == getattr(config, f"{role}_source")
        revision = getattr(config, f"{role}_revision") if same else None
        return LanguageTower.from_source(source, role, revision=revision)
    if folder is None and (tower := _random(config, role)) is not None:
        return tower
    where = f"The checkpoint {folder}" if folder else f"The backbone {config.backbone!r}"
    raise LanguageError(
        f"{where} has no text encoder for its {role} tower, so that there is no zero-shot score: "
        "take a backbone of CLIP and CLAP (vit-b32, vit-b16, vit-l14, tiny-clip)."
    )


def store_language(folder: Path, config: ClaipEmoConfig) -> None:
    """Write into a checkpoint what zero-shot needs and what cannot be fetched again by id.

    Nothing is written for towers from the hub, for random ones that training has changed, and for
    those that have no language side (a ResNet, a folder that holds a single tower): the baseline
    is then not to be had, which must not end a training.

    Args:
        folder: the checkpoint; it need not be complete yet.
        config: of the model.
    """
    if not config.store_towers:
        return
    for role in ROLES:
        source = getattr(config, f"{role}_text")
        if getattr(config, f"{role}_config") is None or (source and not Path(source).exists()):
            continue
        if source is None and config.adaptation == "full":
            continue
        try:
            tower = LanguageTower.from_source(source, role) if source else _random(config, role)
        except BackboneError as error:
            logger.info("There will be no zero-shot score of this model: %s", error)
            continue
        if tower is not None:
            tower.save(folder / folder_name(role))


def folder_name(role: Role) -> str:
    """Return the folder inside a checkpoint that holds the language side of a tower."""
    return f"language-{role}"


def _random(config: ClaipEmoConfig, role: Role) -> LanguageTower | None:
    backbone = BACKBONES.get(config.backbone)
    media = getattr(config, f"{role}_config")
    if backbone is None or role not in backbone.text or getattr(config, f"{role}_source"):
        return None
    return LanguageTower.random(role, backbone.text[role], media, config.labels)
