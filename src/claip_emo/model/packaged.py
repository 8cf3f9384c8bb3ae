"""A checkpoint in another form: half as large, or with LoRA folded into its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from claip_emo.model.checkpoint import save_merged
from claip_emo.model.checkpoint_folder import (
    CARD,
    LICENCE,
    SUMS,
    CheckpointError,
    copy_checkpoint,
    refuse_to_replace,
    resolve,
    sums,
    written_whole,
)
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processor_settings import PROCESSOR_CONFIG


def halve(
    source: str | Path, target: Path, *, card: Path | None = None, licence: Path | None = None
) -> Path:
    """Copy a checkpoint with its weights in half precision, and the sums of all its files.

    It loads as the original does: weights become float32 again.

    Args:
        source: a run's folder, its ``model/``, or a hub id.
        target: folder that is written, whole or not at all.
        card: what becomes its ``README.md``; None: the original's.
        licence: what becomes its ``LICENSE``; None: there is none of its own.

    Returns:
        ``target``.

    Raises:
        CheckpointError: if the source is no checkpoint, or a weight does not fit half precision.
        FileExistsError: if the target is there and is no checkpoint.
    """
    folder = resolve(source)
    refuse_to_replace(target, folder)
    with written_whole(target) as partial:
        copy_checkpoint(folder, partial, weights=_halve_file)
        for name, text in ((CARD, card), (LICENCE, licence)):
            if text is not None:
                shutil.copyfile(text, partial / name)
        (partial / SUMS).write_text(sums(partial), "utf-8")
    return target


def merge(source: str | Path, target: Path) -> Path:
    """Write a checkpoint with LoRA folded into its weights: it loads without peft.

    It scores as the original does, but for rounding; what its towers know of words
    (``evaluate --zero-shot``) stays with the original.

    Args:
        source: a run's folder, its ``model/``, or a hub id.
        target: folder that is written, whole or not at all.

    Returns:
        ``target``.

    Raises:
        BackboneError: if the towers it refers to cannot be had.
        CheckpointError: if the source is no checkpoint.
        FileExistsError: if the target is there and is no checkpoint.
    """
    folder = resolve(source)
    refuse_to_replace(target, folder)
    model = ClaipEmoModel.from_pretrained(folder)
    with written_whole(target) as partial:
        save_merged(model, partial)
        for name in (PROCESSOR_CONFIG, CARD, LICENCE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, partial / name)
        (partial / SUMS).write_text(sums(partial), "utf-8")
    return target


def _halve_file(path: Path, copy: Path) -> None:
    try:
        with safe_open(path, "pt") as stored:
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata()
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    for name, value in state.items():
        if value.dtype == torch.float32:
            state[name] = value.half()
            if not torch.equal(state[name].isfinite(), value.isfinite()):
                raise CheckpointError(f"{path}: {name} is too large for half precision.")
    save_file(state, copy, metadata=metadata)
