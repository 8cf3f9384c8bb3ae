"""A checkpoint as a folder: which file holds what, how it is found, copied, and never half written.

``config.json`` (architecture, labels, sources), ``processor_config.json``, ``adapter_config.json``
and ``adapter_model.safetensors`` (LoRA, temporal module and head, under the names peft gives them),
and ``towers.safetensors`` where the towers cannot be fetched again unchanged (``language-vision/``
and ``language-audio/`` hold their text side, see ``language``). A merged checkpoint has all weights
in ``model.safetensors`` instead, LoRA folded in, under the model's own names. Weights are
safetensors and the rest is JSON or YAML: nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from claip_emo.hub import reachable
from claip_emo.whole_files import sync, written

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
TOWERS = "towers.safetensors"
MERGED = "model.safetensors"
SUMS = "SHA256SUMS"
CALIBRATION = "calibration"
CARD, LICENCE = "README.md", "LICENSE"
WEIGHTS = ".safetensors"
PEFT_PREFIX = "base_model.model."
PACKAGED = "mini"
TOWER_NAMES = ("vision_tower.", "audio_tower.")


class Shaped(Protocol):
    """An array or a tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """Its size in each direction."""
        ...


class CheckpointError(ValueError):
    """A folder or hub id that is no checkpoint, or an incomplete one."""


def resolve(source: str | os.PathLike[str] | None, **hub: object) -> Path:
    """Return the folder of a checkpoint: a run's folder, its ``model/``, or a hub id.

    None is the small model that the package carries.

    Raises:
        CheckpointError: if nothing of the kind is there.
    """
    if source is None:
        return packaged()
    path = Path(source)
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if path.exists():
        hint = (
            " Its training has not finished: run the same `claip-emo train` command again."
            if (path / "training_state").is_dir()
            else ""
        )
        raise CheckpointError(
            f"{path} holds no checkpoint (no {CONFIG} in it or its model/).{hint}"
        )
    if not _may_be_hub_id(str(source)):
        raise CheckpointError(f"{path} does not exist.")
    from huggingface_hub import snapshot_download  # half a second that a folder need not wait for

    try:
        # Without a network a snapshot in the cache will do.
        return Path(snapshot_download(str(source), local_files_only=not reachable(), **hub))  # type: ignore[arg-type]
    except Exception as error:  # the hub's client raises many unrelated types
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{source} is no folder on this machine, and no checkpoint of that id could be had "
            f"from the hub ({first})."
        ) from error


def packaged() -> Path:
    """Return the folder of the checkpoint that the package carries.

    Raises:
        CheckpointError: if this installation carries none.
    """
    folder = Path(str(files("claip_emo"))) / PACKAGED
    if not (folder / CONFIG).is_file():
        raise CheckpointError("This installation carries no model; name one with --model DIR.")
    return folder


def _may_be_hub_id(source: str) -> bool:
    return source.count("/") == 1 and not source.startswith((".", "/", "~", "runs/"))


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that takes its place when all is written.

    Files and the folder are synced before the rename. If writing fails (a full disk, a kill), the
    former ``target`` stays as it was and the temporary folder is removed, at the latest by the next
    call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    former = target.parent / f".{target.name}.former"
    if former.exists() and not target.exists():  # killed between the two renames
        former.rename(target)
    prefix = f".{target.name}.partial-"
    for left_over in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield partial
        for path in sorted(partial.rglob("*")):  # folders as well: they hold the names
            sync(path)
        partial.chmod(0o755)
        sync(partial)
        shutil.rmtree(former, ignore_errors=True)
        if target.exists():
            target.rename(former)
        partial.rename(target)
        sync(target.parent)
        shutil.rmtree(former, ignore_errors=True)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if is_failed_write(error):
            raise OSError(
                errno.ENOSPC, "the file could not be written completely", str(target)
            ) from error
        raise


def is_failed_write(error: BaseException) -> bool:
    """Say whether torch or safetensors, which have errors of their own, failed to write."""
    if not isinstance(error, RuntimeError) and type(error).__name__ != "SafetensorError":
        return False
    text = str(error)
    return any(sign in text for sign in ("inline_container", "PytorchStreamWriter", "I/O error"))


def refuse_to_replace(target: Path, source: Path) -> None:
    """Check that a folder may be written: it is not there, or another checkpoint.

    Raises:
        FileExistsError: if it is anything else, which ``written_whole`` would remove.
    """
    weights = any((target / name).is_file() for name in (ADAPTER, MERGED))
    if target.exists() and not (weights and (target / CONFIG).is_file()):
        raise FileExistsError(f"{target} is there and holds no checkpoint; name another folder.")
    if target.resolve() == source.resolve():
        raise FileExistsError(f"{target} is the checkpoint itself; name another folder.")


def copy_checkpoint(
    folder: Path, target: Path, *, weights: Callable[[Path, Path], object] = shutil.copyfile
) -> None:
    """Copy the files of a checkpoint, not their permissions.

    What is true of the former files only, their sums and the report of a calibration, is left out.

    Args:
        folder: the checkpoint.
        target: an empty folder.
        weights: what copies a file of weights.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS):
        if (name := path.relative_to(folder)).parts[0] == CALIBRATION:
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (weights if path.suffix == WEIGHTS else shutil.copyfile)(path, copy)


def rewrite_config(folder: Path, changes: Mapping[str, object]) -> None:
    """Change what the configuration of a checkpoint says; at every moment it can be loaded.

    The file is written whole. The sums of the files, which are then no longer true, go before.

    Args:
        folder: the checkpoint.
        changes: what is said anew.
    """
    described = json.loads((folder / CONFIG).read_text("utf-8")) | dict(changes)
    text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False)
    with written(folder / CONFIG) as partial:
        partial.write_text(text + "\n", "utf-8")
        sync(partial)  # a full disk is found out before the sums go
        (folder / SUMS).unlink(missing_ok=True)
    sync(folder)


def sums(folder: Path) -> str:
    """Return the SHA-256 of each file in a folder as ``sha256sum`` writes them, in order."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    return "".join(lines)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights.

    Raises:
        CheckpointError: if it is missing or broken.
    """
    from safetensors.torch import load_file  # with it comes torch

    with _readable(path):
        return load_file(path)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file of weights into NumPy; numbers with a point become float32.

    Raises:
        CheckpointError: if it is missing or broken.
    """
    from safetensors.numpy import load_file

    try:
        with _readable(path):
            stored = load_file(path)
    except (TypeError, AttributeError, KeyError):  # numbers that NumPy lacks, such as bfloat16
        return {name: value.float().numpy() for name, value in read_weights(path).items()}
    return {
        name: value if value.dtype.kind in "iub" else value.astype(np.float32)
        for name, value in stored.items()
    }


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError  # who reads no weights here need not have it

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def check_fit(
    path: Path, found: Mapping[str, Shaped], wanted: Mapping[str, Shaped | Sequence[int]]
) -> None:
    """Check that a file holds the weights that its configuration wants, by name and shape.

    Args:
        path: of the file.
        found: what it holds.
        wanted: weights of those shapes, or the shapes.

    Raises:
        CheckpointError: if it holds others.
    """
    if differing := found.keys() ^ wanted.keys():
        raise CheckpointError(
            f"{path} does not fit its {CONFIG}: {len(differing)} names differ, such as "
            f"{min(differing)}."
        )
    for name, value in found.items():
        expected = tuple(getattr(wanted[name], "shape", wanted[name]))
        if tuple(value.shape) != expected:
            raise CheckpointError(
                f"{path} does not fit its {CONFIG}: {name} is {tuple(value.shape)}, expected "
                f"{expected}."
            )
