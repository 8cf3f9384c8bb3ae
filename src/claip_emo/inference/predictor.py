"""What turns clips into scores: a model with torch, a folded one in NumPy, or an exported one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from claip_emo.inference.onnx_model import OnnxModel, is_exported
from claip_emo.media.clip import Clip
from claip_emo.model.description import Modality
from claip_emo.model.folded import FoldedModel
from claip_emo.model.prompts import Role
from claip_emo.model.scoring import NO_FRAMES, Array, ArrayEncoder
from claip_emo.model.stacking import Scores
from claip_emo.threads import tell_torch

if TYPE_CHECKING:
    from torch import Tensor

    from claip_emo.model.batching import Encoder
    from claip_emo.model.modeling import ClaipEmoModel
    from claip_emo.model.precision import PrecisionChoice
    from claip_emo.model.processing import ClaipEmoProcessor


class Predictor(ArrayEncoder, Protocol):
    """Turns clips into scores, at once or part by part."""

    precision: str
    """The number format of its towers."""
    on_cpu: bool
    """Whether it takes the cores that reading would take."""

    def score(self, clips: Sequence[Clip], modality: Modality) -> Scores:
        """Score clips, with both modalities or with one of them masked.

        Raises:
            ModalityError: if it does not read what is asked for.
        """
        ...


class ModelEncoder:
    """The parts of a model with torch, one by one, for arrays.

    Args:
        model: a trained model, or one that scores like it.
        processor: what its towers want to see.
    """

    def __init__(self, model: Encoder, processor: ClaipEmoProcessor):
        """Take the model as it is."""
        self.model, self.processor = model, processor
        self.config, self.settings = model.config, processor.settings
        self.widths: dict[Role, int] = {"vision": model.video_width, "audio": model.audio_width}

    def encode(
        self, frames: NDArray[np.uint8] = NO_FRAMES, sounds: Sequence[Array] = ()
    ) -> tuple[Array, Array]:
        """Turn crops (frame, S, S, 3) and pieces of sound (samples,) into features.

        Returns:
            (frame, video width) and (piece, audio width).
        """
        from claip_emo.model.batching import encode_arrays

        return encode_arrays(self.model, self.processor, frames, sounds)

    def over_time(self, frames: Array) -> Array:
        """Turn features of frames (batch, time, video width) into (batch, video width)."""
        return self._of_the_model(self.model.over_time, frames)

    def attention(self, frames: Array) -> Array | None:
        """Return the CLS's attention to features (batch, time, video width), (batch, time)."""
        from claip_emo.model.heads import TemporalTransformer

        temporal = getattr(self.model, "temporal", None)
        if not isinstance(temporal, TemporalTransformer):
            return None
        return self._of_the_model(temporal.attention, frames)

    def fuse(self, video: Array, audio: Array) -> Array:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        return self._of_the_model(self.model.fuse, video, audio)

    def _of_the_model(self, part: Callable[..., Tensor], *features: Array) -> Array:
        import torch

        model = self.model
        with torch.inference_mode():
            given = [torch.from_numpy(each).to(model.device, model.head_dtype) for each in features]
            return part(*given).float().cpu().numpy()


class ModelPredictor(ModelEncoder):
    """A whole model and what its towers want to see.

    Args:
        model: a trained model; its LoRA is merged for speed.
        processor: what its towers want to see.
        precision: number format of the towers; ``auto`` is the faster of fp32 and bf16.
    """

    model: ClaipEmoModel

    def __init__(
        self,
        model: ClaipEmoModel,
        processor: ClaipEmoProcessor,
        precision: PrecisionChoice = "auto",
    ):
        """Merge the adapters.

        Raises:
            ValueError: if the model's device does not compute in the precision.
        """
        from claip_emo.model.precision import resolve_precision

        self.precision = resolve_precision(precision, model.device, model.config)
        super().__init__(model.merge(self.precision), processor)

    @property
    def on_cpu(self) -> bool:
        """Whether it takes the cores that reading would take."""
        return self.model.device.type == "cpu"

    def score(self, clips: Sequence[Clip], modality: Modality = "av") -> Scores:
        """Score clips in one batch; in int8 each alone, as its rounding follows from the batch.

        Raises:
            ModalityError: if the model does not read what is asked for.
        """
        from claip_emo.model.batching import score, stack

        alone = self.precision == "int8" and len(clips) > 1
        groups = [[clip] for clip in clips] if alone else [clips]
        found = [
            score(self.model, self.processor, stack(few), (modality,))[modality] for few in groups
        ]
        return Scores(
            np.concatenate([few.logits for few in found]),
            np.concatenate([few.probabilities for few in found]),
        )


def load_predictor(
    folder: Path, device: str = "auto", precision: PrecisionChoice = "auto"
) -> Predictor:
    """Load what predicts with a checkpoint: folded where that can be, else the whole model.

    Args:
        folder: of the checkpoint, or of an exported model.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``. What can be folded is quick on the CPU, and
            ``auto`` leaves it there.
        precision: number format of the towers.

    Raises:
        CheckpointError: if it is an incomplete checkpoint.
        BackboneError: if the towers it refers to cannot be had.
        ValueError: if there is no such device, or it does not compute in the precision.
    """
    if is_exported(folder):
        return _exported(folder, device, precision)
    if device.partition(":")[0] in ("auto", "cpu") and precision in ("auto", "fp32"):
        folded = FoldedModel.of_folder(folder)
        if folded is not None:
            return folded
    from claip_emo.model.devices import pick_device
    from claip_emo.model.modeling import ClaipEmoModel  # seconds of torch and transformers
    from claip_emo.model.processing import ClaipEmoProcessor

    tell_torch()
    model = ClaipEmoModel.from_pretrained(folder).to(pick_device(device))
    return ModelPredictor(model, ClaipEmoProcessor.from_pretrained(folder), precision)


def _exported(folder: Path, device: str, precision: PrecisionChoice) -> OnnxModel:
    """Load an exported model, which has its precision and computes on the CPU."""
    model = OnnxModel.of_folder(folder)
    if device not in ("auto", "cpu") or precision not in ("auto", model.precision):
        raise ValueError(
            f"{folder} is an exported model: it computes on the CPU, in {model.precision}. Leave "
            "--device and --precision to it."
        )
    return model
