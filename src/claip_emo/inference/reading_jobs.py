"""What processes that read are asked to do, what they ask in between, and how they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from claip_emo.media.decode import MediaError
from claip_emo.model.description import Modality
from claip_emo.model.scoring import ArrayEncoder

PARTS = ("encode", "over_time", "attention", "fuse")
"""Of a model: what a process may ask of it."""

Tell = Callable[[float, float], None]


class WorkerLostError(RuntimeError):
    """The process that read a file is gone."""


class WorkerTimeError(WorkerLostError):
    """The process that read a file took too long, and was ended."""


class WorkerRefusedError(MediaError):
    """The process does not read this file.

    Attributes:
        kind: name of the error there.
    """

    def __init__(self, said: str, kind: str = "MediaError"):
        """Keep what it said."""
        super().__init__(said)
        self.kind = kind


def unexpected(_: Mapping[str, Any]) -> None:
    """Refuse whatever a process says before it is done."""
    raise WorkerLostError("a process that reads files said something unexpected")


def clip_job(path: str | Path, mask: Modality, audio: str | Path | None = None) -> dict[str, Any]:
    """Return the job of reading a clip, whose sound may be in a file of its own."""
    sound = None if audio is None else str(audio)
    return {"path": str(path), "mask": mask, "audio": sound, "timeline": None}


def timeline_job(
    path: str | Path,
    mask: Modality,
    *,
    window_s: float,
    hop_s: float,
    faces: str,
    limits: Mapping[str, float] | None,
) -> dict[str, Any]:
    """Return the job of making a timeline; what is abstained from follows from ``limits``."""
    how = {"window_s": window_s, "hop_s": hop_s, "faces": faces, "limits": limits}
    return {"path": str(path), "mask": mask, "timeline": how}


def answering(model: ArrayEncoder, tell: Tell | None = None) -> Callable[[Mapping[str, Any]], Any]:
    """Return what answers a process that makes a timeline: it asks for parts of the model."""

    def answer(said: Mapping[str, Any]) -> Any:
        if "progress" in said:
            if tell is not None:
                tell(*said["progress"])
            return None
        part = said.get("ask")
        if part not in PARTS:
            unexpected(said)
        return (getattr(model, part)(*said["given"]),)

    return answer
