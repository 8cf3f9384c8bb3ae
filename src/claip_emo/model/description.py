"""What every description of a model has: its classes, what it reads, how its logits are corrected.

Needs no library, so that what only predicts need not wait for transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from claip_emo.labels import LabelSet

Adaptation = Literal["lora", "frozen", "full"]
Temporal = Literal["transformer", "mean", "lstm"]
Fusion = Literal["concat", "sum", "gated", "cross_attention"]
Modality = Literal["av", "v", "a"]


READS: dict[str, str] = {"av": "faces and voices", "v": "faces", "a": "voices"}
"""What a model of each modality reads, in words."""


MASKS: dict[str, Modality] = {"av": "av", "video": "v", "audio": "a"}
"""What a user asks for -> what is left unmasked."""


class ModalityError(ValueError):
    """A model that reads one modality is asked for scores of the other."""


class TowerError(ValueError):
    """An architecture without an entry, or weights that do not fit it."""


@dataclass(kw_only=True, repr=False, eq=False)
class Described:
    """Choices of a model's configuration, whoever stores them.

    Attributes:
        vision_config: sizes of the vision tower; None: there is none.
        audio_config: sizes of the audio tower; None: there is none.
        labels: names of the classes, in the order of the logits.
        modality: what the model reads.
        temperature: what logits are divided by before the softmax.
        logit_shift: from ``av``, ``v`` or ``a`` to what is added to the logits, class by class,
            of a view with both, with a face alone, or with a voice alone.
    """

    vision_config: Any = None
    audio_config: Any = None
    labels: Any = None
    adaptation: str = "lora"
    lora_rank: int = 8
    lora_alpha: int = 32
    num_frames: int = 16
    temporal: str = "transformer"
    temporal_heads: int = 8
    temporal_head_dim: int = 64
    temporal_mlp_dim: int = 1024
    fusion: str = "concat"
    fusion_width: int = 256
    fusion_heads: int = 4
    modality: str = "av"
    temperature: float = 1.0
    logit_shift: Any = None

    def check(self) -> None:
        """Refuse choices that are none.

        Raises:
            ValueError: naming the choice.
        """
        one_of("modality", self.modality, get_args(Modality))
        one_of("adaptation", self.adaptation, get_args(Adaptation))
        one_of("temporal", self.temporal, get_args(Temporal))
        one_of("fusion", self.fusion, get_args(Fusion))
        if self.lora_rank < 1 or self.num_frames < 1 or self.temperature <= 0:
            raise ValueError("lora_rank and num_frames are at least 1, and temperature is above 0.")
        self._check_shift()
        if not 1 <= self.fusion_heads <= self.fusion_width:
            raise ValueError("fusion_heads is at least 1 and at most fusion_width.")

    def _check_shift(self) -> None:
        if not isinstance(self.logit_shift or {}, dict):
            raise ValueError("logit_shift is a mapping from av, v or a to a number per class.")
        for there, shift in (self.logit_shift or {}).items():
            one_of("a key of logit_shift", there, get_args(Modality))
            numbers = isinstance(shift, list) and all(
                isinstance(value, int | float) and math.isfinite(value) for value in shift
            )
            if not numbers or len(shift) != len(self.labels):
                raise ValueError(
                    f"logit_shift[{there}] must be {len(self.labels)} numbers, one per class."
                )

    @property
    def label_set(self) -> LabelSet:
        """The classes in the order of the logits."""
        return LabelSet(self.labels)

    @property
    def reads_video(self) -> bool:
        """Whether the model has a vision tower."""
        return "v" in self.modality

    @property
    def reads_audio(self) -> bool:
        """Whether the model has an audio tower."""
        return "a" in self.modality

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What can be scored: both and each alone (the other masked), or the only one it reads."""
        every: tuple[Modality, ...] = get_args(Modality)
        return every if self.modality == "av" else (self.modality,)  # type: ignore[return-value]


def too_many_frames(time: int, rows: int) -> ValueError:
    """Return the error of more frames than the temporal Transformer has positions for.

    Args:
        time: frames that were given.
        rows: of the table of positions, one of which is the CLS token's.
    """
    return ValueError(
        f"{time} frames were given, but the position table was made for {rows - 1}; set "
        f"model.num_frames to {time} and train again, or sample {rows - 1} frames."
    )


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not known.

    Raises:
        ValueError: naming those that are.
    """
    if value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}.")
