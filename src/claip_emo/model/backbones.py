"""Backbones by name: which pair of towers, where their weights are, and how to get them.

``vit-b32``, ``vit-b16`` and ``vit-l14`` are OpenAI's CLIP beside LAION's fused CLAP; any other hub
id or folder of these architectures stands in for one of them. ``tiny`` and ``tiny-clip`` have
random weights: the first learns drawn faces and made voices within a minute (a frozen random ViT
learns none, a frozen random ResNet with LoRA does), the second is small enough for tests. ``mini``
are the two ResNets that ``claip-emo pretrain`` teaches; its towers come from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

from claip_emo.hub import reachable
from claip_emo.labels import LabelSet
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.towers import AUDIO, VISION, TowerKind, tower_config

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""File names under which a repository keeps weights; one will do, the first is the best."""
NEEDED = ("config.json", "preprocessor_config.json")
"""Files that are always needed beside the weights."""


class BackboneError(RuntimeError):
    """A backbone that cannot be had; the message names what is missing and how to get it."""


class LanguageError(BackboneError):
    """Towers without a language side: no text encoder, no tokenizer, or broken ones."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A pair of towers and where they come from; None as a source means random weights.

    ``text`` has the sizes of the text encoders that random towers get (by role, ``vision`` or
    ``audio``); towers from a source have theirs there.
    """

    name: str
    vision_source: str | None
    audio_source: str | None
    vision: dict[str, Any]
    audio: dict[str, Any]
    model: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    text: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """The hub ids or folders it is made of."""
        return tuple(source for source in (self.vision_source, self.audio_source) if source)


def _clip(width: int, layers: int, heads: int, patch: int) -> dict[str, Any]:
    """Return OpenAI's published vision configuration of these sizes (224 px, MLP 4 x width)."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": 224,
        "hidden_act": "quick_gelu",
        "projection_dim": 768 if width == 1024 else 512,
    }


def _resnet(stem: int, widths: list[int], depth: int) -> dict[str, Any]:
    """Return a ResNet of basic blocks over one channel, as many in each stage."""
    return {
        "model_type": "resnet",
        "num_channels": 1,
        "embedding_size": stem,
        "hidden_sizes": widths,
        "depths": [depth] * len(widths),
        "layer_type": "basic",
    }


_TINY_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 80,
    "projection_dim": 32,
}
CLAP_ID = "laion/clap-htsat-fused"
_CLAP = {"model_type": "clap_audio_model"}  # transformers' defaults are HTS-AT tiny, as published

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        Backbone("vit-b32", "openai/clip-vit-base-patch32", CLAP_ID, _clip(768, 12, 12, 32), _CLAP),
        Backbone("vit-b16", "openai/clip-vit-base-patch16", CLAP_ID, _clip(768, 12, 12, 16), _CLAP),
        Backbone(
            "vit-l14", "openai/clip-vit-large-patch14", CLAP_ID, _clip(1024, 24, 16, 14), _CLAP
        ),
        Backbone(
            "tiny",
            None,
            None,
            _resnet(16, [16, 32, 64, 128], 1),
            _resnet(16, [16, 32, 64, 128], 1),
            {"temporal_heads": 4, "temporal_head_dim": 32, "temporal_mlp_dim": 256},
            {"image_size_px": 48, "image_channels": 1, "image_normalisation": "per_crop"},
        ),
        Backbone(
            "mini",
            None,
            None,
            _resnet(48, [48, 96, 160, 256], 2),
            _resnet(32, [32, 64, 128, 256], 2),
            {"temporal_heads": 4, "temporal_head_dim": 32, "temporal_mlp_dim": 256},
            {"image_size_px": 64, "image_channels": 1, "image_normalisation": "per_crop"},
        ),
        Backbone(
            "tiny-clip",
            None,
            None,
            _clip(32, 2, 2, 16) | {"image_size": 32, "intermediate_size": 64},
            {
                "model_type": "clap_audio_model",
                "spec_size": 128,
                "num_mel_bins": 64,
                "window_size": 4,
                "patch_embeds_hidden_size": 8,
                "depths": [1, 1, 1, 1],
                "num_attention_heads": [1, 2, 2, 2],
                "hidden_size": 64,
                "enable_patch_layer_norm": False,
            },
            {"temporal_heads": 2, "temporal_head_dim": 16, "temporal_mlp_dim": 64},
            {"image_size_px": 32, "audio_s": 2.55},
            {"vision": _TINY_TEXT, "audio": _TINY_TEXT},
        ),
    )
}


def resolve(name: str, *, vision: str | None = None, audio: str | None = None) -> Backbone:
    """Return the backbone of a name, with one or both towers taken from elsewhere.

    Args:
        name: one of ``BACKBONES``.
        vision: hub id or folder whose vision tower is taken instead.
        audio: hub id or folder whose audio tower is taken instead.

    Raises:
        BackboneError: for an unknown name.
    """
    if name not in BACKBONES:
        raise BackboneError(
            f"Unknown backbone {name!r}; known are {', '.join(BACKBONES)}. Other weights of the "
            "same architectures: --set model.vision=HUB_ID_OR_FOLDER --set model.audio=..."
        )
    backbone = BACKBONES[name]
    if vision:
        backbone = replace(backbone, vision_source=vision, vision=_described(vision, VISION))
    if audio:
        backbone = replace(backbone, audio_source=audio, audio=_described(audio, AUDIO))
    return backbone


def _described(source: str, kinds: dict[str, TowerKind]) -> dict[str, Any]:
    if not Path(source).is_dir() and source.strip("/").count("/") > 1:  # a hub id has one at most
        raise BackboneError(
            f"There is no folder {source}. Towers of your own are made by `claip-emo pretrain "
            "mini --data DIR --out OUT`; take them with --set model.vision=OUT/vision --set "
            "model.audio=OUT/audio."
        )
    try:
        return tower_config(source, kinds).to_dict()
    except OSError as error:
        raise BackboneError(explain_missing(source, error)) from error


def configure(backbone: Backbone, labels: LabelSet, **settings: Any) -> ClaipEmoConfig:
    """Return the model's configuration for a backbone; ``settings`` override its own."""
    adaptation = settings.get("adaptation", "lora")
    sources = (backbone.vision_source, backbone.audio_source)
    random_or_local = any(source is None or Path(source).exists() for source in sources)
    return ClaipEmoConfig(
        backbone=backbone.name,
        vision_config=dict(backbone.vision),
        audio_config=dict(backbone.audio),
        vision_source=backbone.vision_source,
        audio_source=backbone.audio_source,
        store_towers=adaptation == "full" or random_or_local,
        labels=list(labels),
        **{**backbone.model, **settings},
    )


def missing_files(source: str) -> list[str]:
    """Return the files of a hub id or folder that are not on this machine; empty: all are there."""
    missing = [name for name in NEEDED if not _is_here(source, name)]
    if not any(_is_here(source, name) for name in WEIGHTS):
        missing.append(WEIGHTS[0])
    return missing


def _is_here(source: str, name: str) -> bool:
    if Path(source).is_dir():
        return (Path(source) / name).is_file()
    return isinstance(try_to_load_from_cache(source, name), str)


def explain_missing(source: str, error: Exception | None = None) -> str:
    """Return which files of a source are missing and the two ways to get them."""
    folder = Path("backbones") / source.replace("/", "--")
    reason = f" ({str(error).strip().splitlines()[0]})" if error and str(error).strip() else ""
    missing = ", ".join(missing_files(source)) or "none: the files on this machine cannot be read"
    return (
        f"The weights of {source} could not be loaded{reason}.\n"
        f"Missing on this machine: {missing}.\n"
        f"1. With a network: claip-emo backbones fetch {source}\n"
        f"2. Without one: run `claip-emo backbones fetch {source} --to {folder}` on a machine that "
        f"has it, copy the folder here and name it: --set model.vision={folder} (or model.audio=)"
    )


def fetch(source: str, to: Path | None = None) -> Path:
    """Download the files of a hub id that a tower needs, into the cache or a folder; return where.

    Raises:
        BackboneError: if the hub cannot be reached or does not have it.
    """
    if not reachable():
        raise BackboneError(explain_missing(source, OSError("the hub cannot be reached")))
    try:
        there = HfApi().list_repo_files(source)
        weights = next((name for name in WEIGHTS if name in there), WEIGHTS[0])
        shards = "model-*.safetensors" if weights.endswith(".index.json") else weights
        wanted = [*NEEDED, weights, shards, "tokenizer*", "vocab*", "merges*"]
        return Path(snapshot_download(source, allow_patterns=wanted, local_dir=to))
    except Exception as error:  # the hub's client raises many unrelated types
        raise BackboneError(explain_missing(source, error)) from error
