"""Whole CLIP and CLAP checkpoints at tiny size, with the hub's file names."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import ClapConfig, ClapModel, CLIPConfig, CLIPModel

from claip_emo.model.backbones import BACKBONES
from claip_emo.model.tokenization import train_tokenizer

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "max_position_embeddings": 40}


def media_fields(role: str) -> dict:
    fields = BACKBONES["tiny-clip"].vision if role == "vision" else BACKBONES["tiny-clip"].audio
    return {name: value for name, value in fields.items() if name != "model_type"}


def special(tokenizer) -> dict:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names} | {"vocab_size": len(tokenizer)}


def make_clip(folder: Path) -> Path:
    """A whole CLIP as the hub has it."""
    tokenizer = train_tokenizer("vision")
    torch.manual_seed(1)
    text = TEXT | special(tokenizer)
    config = CLIPConfig(vision_config=media_fields("vision"), text_config=text, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"crop_size": 32, "size": 32}')
    return folder


def make_clap(folder: Path) -> Path:
    """A whole CLAP as LAION's: with the fusion branch."""
    tokenizer = train_tokenizer("audio")
    torch.manual_seed(2)
    audio = media_fields("audio") | {"enable_fusion": True, "fusion_type": "aff_2d"}
    text = TEXT | special(tokenizer)
    model = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=10))
    with torch.no_grad():  # in LAION's they differ
        model.logit_scale_a.fill_(2.9)
        model.logit_scale_t.fill_(4.4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"truncation": "fusion", "max_length_s": 1}')
    return folder
