"""How a checkpoint becomes small enough for a package to carry it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from claip_emo.model.checkpoint_folder import (
    SUMS,
    CheckpointError,
    copy_checkpoint,
    refuse_to_replace,
    resolve,
    written_whole,
)


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
        for name, text in (("README.md", card), ("LICENSE", licence)):
            if text is not None:
                shutil.copyfile(text, partial / name)
        (partial / SUMS).write_text(sums(partial), "utf-8")
    return target


def sums(folder: Path) -> str:
    """Return the SHA-256 of each file in a folder as ``sha256sum`` writes them, in order."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
    )
    return "".join(lines)


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
