"""An exported model: what ``inference.export`` wrote, computed by ONNX Runtime without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import CONFIG, CheckpointError
from claip_emo.model.description import Modality, too_many_frames
from claip_emo.model.folded import FoldedConfig
from claip_emo.model.folded_inputs import Inputs
from claip_emo.model.processor_settings import ProcessorSettings, read_settings
from claip_emo.model.prompts import Role
from claip_emo.model.scoring import NO_FRAMES, Array, score_clips
from claip_emo.model.stacking import Scores
from claip_emo.threads import in_use, together

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VISION, AUDIO, TEMPORAL, HEAD = "vision", "audio", "temporal", "head"
FRAMES_AT_ONCE = 16  # a view's
Sessions = Mapping[str, "InferenceSession"]


class MissingExtraError(RuntimeError):
    """A package that only exported models need is not installed."""


def file_of(folder: Path, part: str) -> Path:
    """Return where a part of an exported model lies: vision, audio, temporal or head."""
    return folder / f"{part}.onnx"


def is_exported(folder: Path) -> bool:
    """Say whether a folder holds an exported model."""
    return file_of(folder, HEAD).is_file()


class OnnxModel:
    """Towers, temporal module and head of an exported model.

    Args:
        config: of the checkpoint that it was made of.
        settings: what its towers want to see.
        sessions: the parts it has.
    """

    on_cpu = True

    def __init__(self, config: FoldedConfig, settings: ProcessorSettings, sessions: Sessions):
        """Take the parts; that they fit was checked."""
        self.config, self.settings, self.inputs = config, settings, Inputs(settings)
        self._sessions = sessions
        self.widths: dict[Role, int] = {
            role: sessions[role].get_outputs()[0].shape[-1] if role in sessions else 0
            for role in (VISION, AUDIO)
        }
        told = sessions[config.roles[0]].get_modelmeta().custom_metadata_map
        self.precision = told.get("precision", "fp32")

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """Load an exported model.

        Raises:
            CheckpointError: if a file is missing, broken, or another model's.
            MissingExtraError: if ONNX Runtime is not installed.
        """
        try:
            config = FoldedConfig.read(folder)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{folder / CONFIG} cannot be read: {error}") from error
        settings = read_settings(folder)
        parts = [*config.roles, *([TEMPORAL] if config.reads_video else []), HEAD]
        sessions = {part: _session(file_of(folder, part)) for part in parts}
        _check(folder, config, settings, sessions)
        return cls(config, settings, sessions)

    def score(self, clips: Sequence[Clip], modality: Modality = "av") -> Scores:
        """Score clips; in int8 each alone, as its rounding follows from what is computed at once.

        Raises:
            ModalityError: if the model does not read what is asked for.
        """
        if self.precision != "int8":
            return score_clips(self, clips, modality)
        found = [score_clips(self, [clip], modality) for clip in clips]
        return Scores(
            np.concatenate([one.logits for one in found]),
            np.concatenate([one.probabilities for one in found]),
        )

    def encode(
        self, frames: NDArray[np.uint8] = NO_FRAMES, sounds: Sequence[Array] = ()
    ) -> tuple[Array, Array]:
        """Turn crops (frame, S, S, 3) and pieces of sound (samples,) into features.

        Returns:
            (frame, video width) and (piece, audio width).
        """
        few = range(0, len(frames), FRAMES_AT_ONCE)
        shown = [self._see(frames[place : place + FRAMES_AT_ONCE]) for place in few]
        mels = together([partial(self.inputs.hear, samples) for samples in sounds])
        heard = [self._run(AUDIO, mel=mel[:, None]).mean(axis=0) for mel in mels]
        return (
            np.concatenate(shown or [np.zeros((0, self.widths["vision"]), np.float32)]),
            np.stack(heard or [np.zeros(self.widths["audio"], np.float32)])[: len(heard)],
        )

    def over_time(self, frames: Array) -> Array:
        """Turn features of frames (batch, time, video width) into (batch, video width).

        Raises:
            ValueError: for more frames than the table of positions was made for.
        """
        return self._over_time("video", frames)

    def attention(self, frames: Array) -> Array | None:
        """Return the CLS's attention to features (batch, time, video width), (batch, time).

        Raises:
            ValueError: for more frames than the table of positions was made for.
        """
        if TEMPORAL not in self._sessions or self.config.temporal != "transformer":
            return None
        return self._over_time("attention", frames)

    def fuse(self, video: Array, audio: Array) -> Array:
        """Turn features (batch, video width) and (batch, audio width) into logits."""
        given = {"video": video, "audio": audio}
        return self._run(HEAD, **{name: part for name, part in given.items() if part.shape[1]})

    def _over_time(self, output: str, frames: Array) -> Array:
        longest = self.config.num_frames
        if self.config.temporal == "transformer" and frames.shape[1] > longest:
            raise too_many_frames(frames.shape[1], longest + 1)
        found: Array = self._sessions[TEMPORAL].run([output], {"frames": frames})[0]
        return found

    def _see(self, frames: NDArray[np.uint8]) -> Array:
        pixels = np.ascontiguousarray(self.inputs.see(frames).transpose(0, 3, 1, 2))
        features = self._run(VISION, pixels=pixels)
        if self.settings.image_mirrored:
            mirrored = np.ascontiguousarray(pixels[..., ::-1])
            features = (features + self._run(VISION, pixels=mirrored)) / 2
        return features

    def _run(self, part: str, **inputs: Array) -> Array:
        """Return the first output of a part."""
        session = self._sessions[part]
        found: Array = session.run([session.get_outputs()[0].name], inputs)[0]
        return found


def _session(path: Path) -> InferenceSession:
    """Open a part with as many threads as are in use.

    Raises:
        CheckpointError: if it is missing or broken.
        MissingExtraError: if ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"An exported model needs ONNX Runtime ({error}): pip install 'claip-emo[export]', or "
            "pip install onnxruntime where nothing else is to come."
        ) from error
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: the exported model is incomplete.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = in_use(), 1
    options.log_severity_level = 4  # what fails is raised
    # Threads that wait by computing would take the cores that reading needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights that are stored as integers are unpacked once, when they are loaded.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _check(
    folder: Path, config: FoldedConfig, settings: ProcessorSettings, sessions: Sessions
) -> None:
    """Check that the parts fit each other and what the folder says of them.

    Raises:
        CheckpointError: if one is another model's.
    """
    side = settings.image_size_px
    wanted: dict[str, dict[str, Any]] = {
        VISION: {"pixels": [settings.image_channels, side, side]},
        AUDIO: {"mel": [1, *settings.mel_shape[1:]]},
        HEAD: {},
    }
    for role, name in ((VISION, "video"), (AUDIO, "audio")):
        if role in sessions:
            wanted[HEAD][name] = sessions[role].get_outputs()[0].shape[1:]
    if TEMPORAL in sessions:
        wanted[TEMPORAL] = {"frames": ["time", *wanted[HEAD]["video"]]}
    for part, session in sessions.items():
        found = {given.name: given.shape[1:] for given in session.get_inputs()}
        if found != wanted[part]:
            raise CheckpointError(
                f"{file_of(folder, part)} is another model's: it takes {found}, expected "
                f"{wanted[part]}."
            )
    classes = sessions[HEAD].get_outputs()[0].shape[-1]
    if classes != len(config.labels):
        raise CheckpointError(
            f"{file_of(folder, HEAD)} is another model's: it has {classes} classes, expected "
            f"{len(config.labels)}."
        )
