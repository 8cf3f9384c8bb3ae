"""How processes read, and what they are told of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from claip_emo.inference.predictor import Predictor
from claip_emo.inference.reader import FRAMES_AHEAD, Reader
from claip_emo.media.faces import model_file_of
from claip_emo.model.description import Modality

PASSED = {
    "PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "TZ", "HOME", "TMPDIR",
    "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
}  # fmt: skip
"""Of the environment; the rest, such as tokens, is nothing for who decodes."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Setup:
    """How processes read.

    Attributes:
        settings: what the towers want to see.
        reads: the modality of the model.
        face_detector: what finds faces.
        face_model: YuNet's model file.
        frames_ahead: decoded while faces are sought in those before; 0: several read at once.
        config: of the model, what scores of timelines follow from.
        widths: of its towers.
        limits: what ``begin`` of the process makes of them.
        box: folder with the files that it reads; None: they lie anywhere.
    """

    settings: Mapping[str, Any]
    reads: Modality
    face_detector: str
    face_model: str | None
    frames_ahead: int
    config: Mapping[str, Any]
    widths: Mapping[str, int]
    limits: Mapping[str, Any] = field(default_factory=dict)
    box: str | None = None

    @classmethod
    def of(
        cls, predictor: Predictor, reader: Reader, count: int, limits: Mapping[str, Any] | None
    ) -> Setup:
        """Describe how files are read for a model by so many processes."""
        config = predictor.config
        told = ("labels", "modality", "num_frames", "temperature", "logit_shift", "abstain_below")
        detector = reader.detector
        model = model_file_of(detector) or reader.face_model
        return cls(
            settings=asdict(reader.settings),
            reads=reader.reads,
            face_detector=detector.name if detector is not None else "none",
            face_model=str(model.absolute()) if model is not None else None,
            frames_ahead=FRAMES_AHEAD if count == 1 else 0,
            config={name: getattr(config, name) for name in told},
            widths=dict(predictor.widths),
            limits=limits or {},
        )


def environment() -> dict[str, str]:
    """Return what a process is told of this one's environment."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(("CLAIP_EMO_", "LC_"))
    }
    return passed | ONE_THREAD
