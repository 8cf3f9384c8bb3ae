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
        temperature: what logits are divided by before the softmax: a number, or from ``av``, ``v``
            or ``a`` to that of a view with both, with a face alone, or with a voice alone.
        logit_shift: from the same to what is added to the logits, class by class.
        abstain_below: from the same to the highest score below which an answer is not sure enough;
            None: nobody has looked for it. What is missing is never sure enough.
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
    temperature: Any = 1.0
    logit_shift: Any = None
    abstain_below: Any = None

    def check(self) -> None:
        """Refuse choices that are none.

        Raises:
            ValueError: naming the choice.
        """
        one_of("modality", self.modality, get_args(Modality))
        one_of("adaptation", self.adaptation, get_args(Adaptation))
        one_of("temporal", self.temporal, get_args(Temporal))
        one_of("fusion", self.fusion, get_args(Fusion))
        if self.lora_rank < 1 or self.num_frames < 1:
            raise ValueError("lora_rank and num_frames are at least 1.")
        self._check_shift()
        self._check_confidence()
        if not 1 <= self.fusion_heads <= self.fusion_width:
            raise ValueError("fusion_heads is at least 1 and at most fusion_width.")

    def _check_shift(self) -> None:
        if not isinstance(self.logit_shift or {}, dict):
            raise ValueError("logit_shift is a mapping from av, v or a to a number per class.")
        for there, shift in (self.logit_shift or {}).items():
            one_of("a key of logit_shift", there, get_args(Modality))
            numbers = isinstance(shift, list) and all(map(_is_finite, shift))
            if not numbers or len(shift) != len(self.labels):
                raise ValueError(
                    f"logit_shift[{there}] must be {len(self.labels)} numbers, one per class."
                )

    def _check_confidence(self) -> None:
        softness, limits = self.temperature, self.abstain_below
        of_all = softness.values() if isinstance(softness, dict) else [softness]
        if not all(_is_finite(value) and value > 0 for value in of_all):
            raise ValueError(
                "temperature is a number above 0, or a mapping from av, v or a to such numbers."
            )
        if not isinstance(limits or {}, dict) or not all(
            _is_finite(value) and 0 <= value <= 1 for value in (limits or {}).values()
        ):
            raise ValueError("abstain_below is a mapping from av, v or a to a score from 0 to 1.")
        for name, value in (("temperature", softness), ("abstain_below", limits)):
            for there in value if isinstance(value, dict) else ():
                one_of(f"a key of {name}", there, get_args(Modality))

    def temperature_of(self, there: Modality | None) -> float:
        """Return what logits are divided by where both, one alone, or nothing (None) is there."""
        if isinstance(self.temperature, dict):
            return float(self.temperature.get(there, 1.0))
        return float(self.temperature)

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


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


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
