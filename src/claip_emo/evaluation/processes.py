"""Several processes of one command, as torchrun and accelerate launch start them.

Each process does its share; what is written is written by the first, once, from what all have
gathered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from torch import distributed


class FirstProcessFailedError(RuntimeError):
    """The first process failed, and has said why; the others end without a word."""


def join(device: str = "auto") -> None:
    """Join the processes that a launcher has started; started alone, do nothing.

    Args:
        device: ``cpu`` stays on the CPU (gloo) although there is a GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not together():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu" or not torch.cuda.is_available())


def together() -> bool:
    """Say whether there are other processes."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if together() else 0


def count() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if together() else 1


def is_first() -> bool:
    """Say whether this process is the one that writes and speaks."""
    return rank() == 0


def speaking(console: Console | None) -> Console:
    """Return the console to show progress on; only that of the first process is heard."""
    return (console or Console(stderr=True)) if is_first() else Console(quiet=True)


def wait() -> None:
    """Wait until every process is here."""
    if together():
        distributed.barrier()


@contextmanager
def first_goes_first() -> Iterator[None]:
    """Let the first process do the work of the block before the others do it.

    If it fails, the others fail as well, instead of waiting for it.
    """
    failed: list[Any] = [None]
    try:
        if is_first():
            yield
    except BaseException as error:
        failed = [f"{type(error).__name__}: {error}"]
        raise
    finally:
        if together():
            told = failed if is_first() else [None]
            distributed.broadcast_object_list(told, src=0)
            failed = told
    if not is_first():
        if failed[0]:
            raise FirstProcessFailedError(str(failed[0]))
        yield


def gather(mine: Any) -> list[Any]:
    """Return what every process holds, in the order of their numbers."""
    if not together():
        return [mine]
    everything: list[Any] = [None] * count()
    distributed.all_gather_object(everything, mine)
    return everything
