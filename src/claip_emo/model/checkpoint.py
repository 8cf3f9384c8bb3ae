"""The weights of a model in the files of a checkpoint: written and read, and divided among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor

from claip_emo.model.checkpoint_folder import (
    ADAPTER,
    ADAPTER_CONFIG,
    MERGED,
    PEFT_PREFIX,
    TOWER_NAMES,
    TOWERS,
    check_fit,
    read_weights,
)
from claip_emo.model.towers import lora_config, merge_adapters

if TYPE_CHECKING:
    from claip_emo.model.modeling import ClaipEmoModel


def save_weights(model: ClaipEmoModel, folder: Path) -> None:
    """Write configuration, adapter and, where needed, towers of a model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    adapter, towers = _split(model)
    _save(adapter, folder / ADAPTER)
    if model.config.adaptation == "lora":
        described = {
            key: sorted(value) if isinstance(value, set) else value
            for key, value in lora_config(model.config).to_dict().items()
        }
        config = model.config
        source = config.vision_source if config.reads_video else config.audio_source
        described["base_model_name_or_path"] = source
        (folder / ADAPTER_CONFIG).write_text(
            json.dumps(described, indent=2, sort_keys=True, default=str) + "\n", "utf-8"
        )
    if model.config.store_towers:
        _save(towers, folder / TOWERS)


def save_merged(model: ClaipEmoModel, folder: Path) -> None:
    """Fold LoRA into a model's towers, and write configuration and all weights into a folder.

    What it is described as is a model all of which was trained: its towers are no longer those of
    their sources.
    """
    merge_adapters(model)
    model.config.adaptation, model.config.store_towers = "full", True
    model.config.save_pretrained(folder)
    _save(model.state_dict(), folder / MERGED)


def _save(state: dict[str, Tensor], path: Path) -> None:
    """Write weights, however they lie in memory."""
    save_file({n: t.contiguous() for n, t in state.items()}, path, metadata={"format": "pt"})


def load_weights(model: ClaipEmoModel, folder: Path) -> None:
    """Read the adapter and, where the checkpoint stores them, the towers into a model.

    Raises:
        CheckpointError: if a file is missing, broken, or another model's.
    """
    if (folder / MERGED).is_file():
        return _fill(model.state_dict(), folder / MERGED)
    _fill(_split(model)[0], folder / ADAPTER)
    if model.config.store_towers:
        load_towers(model, folder)


def load_towers(model: ClaipEmoModel, folder: Path) -> None:
    """Read the towers that a checkpoint stores, as they are without adapters, into a model.

    Raises:
        CheckpointError: if the file is missing, broken, or another model's.
    """
    _fill(_split(model)[1], folder / TOWERS)


def _fill(expected: dict[str, Tensor], path: Path) -> None:
    stored = read_weights(path)
    check_fit(path, stored, expected)
    for name, value in stored.items():
        expected[name].copy_(value)


def _split(model: ClaipEmoModel) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divide a model's state into the adapter (peft's names) and the towers without adapters.

    These are the model's own tensors: what is copied into them is in the model.
    """
    adapter: dict[str, Tensor] = {}
    towers: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        value = value.detach()
        if not name.startswith(TOWER_NAMES):
            adapter[PEFT_PREFIX + name] = value
        elif ".lora_" in name:
            adapter[PEFT_PREFIX + name.replace(".default.", ".")] = value
        else:
            towers[name.replace(".base_layer.", ".")] = value
    return adapter, towers
