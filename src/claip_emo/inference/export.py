"""A checkpoint becomes ONNX files that are computed without torch, and is held beside them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from claip_emo.inference import onnx_model as exported
from claip_emo.inference.onnx_model import MissingExtraError, OnnxModel, file_of
from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import (
    CARD,
    CONFIG,
    LICENCE,
    SUMS,
    resolve,
    sums,
    written_whole,
)
from claip_emo.model.description import Modality
from claip_emo.model.processor_settings import PROCESSOR_CONFIG, ProcessorSettings
from claip_emo.model.scoring import ArrayEncoder

if TYPE_CHECKING:
    from onnx import ModelProto

    from claip_emo.inference.predictor import ModelPredictor
    from claip_emo.model.graph import GraphPrecision
    from claip_emo.model.modeling import ClaipEmoModel

MODEL_CARD = "MODEL_CARD.md"
ONE_FILE_BYTES = 2**30  # weights of more lie beside their graph: a protobuf ends at 2 GB
LARGEST_DISTANCE = 1e-4  # of a probability, in fp32
SMALLEST_COSINE = 0.95  # of features, in int8: what is less is broken, not rounded
TRIED_FRAMES = 4

README = """# An exported emotion recogniser ({precision})

`vision.onnx` (frames to features), `audio.onnx` (a window of log-mel to features), `temporal.onnx`
(features of frames to one), `head.onnx` (both to logits): those that the model has. What frames and
log-mels are stands in `processor_config.json`, classes and what corrects logits in `config.json`.
Weights that are too large for one file lie in `*.onnx.data`; `sha256sum -c {sums}` checks all.

```sh
pip install --no-deps claip-emo
pip install numpy av opencv-python-headless onnxruntime
python -m claip_emo.inference.runtime THIS_FOLDER clip.mp4 --json
```

It reads what a face and a voice show, not what a person feels. It must not be used to judge people:
at work, in schools, in courts or at borders.
"""


class ExportError(RuntimeError):
    """What was exported does not answer as the model does."""


def export_onnx(
    source: str | Path,
    target: Path,
    *,
    precision: GraphPrecision = "fp32",
    say: Callable[[str], object] = lambda _: None,
) -> Path:
    """Write a checkpoint as ONNX files, once they are seen to answer as it does.

    Args:
        source: a run's folder, its ``model/``, or a hub id.
        target: folder that is written, whole or not at all.
        precision: ``fp32``, or ``int8`` for the towers.
        say: is told what is done now.

    Returns:
        ``target``.

    Raises:
        CheckpointError: if the source is no checkpoint.
        BackboneError: if the towers it refers to cannot be had.
        TowerError: if there is no graph for a tower's architecture.
        ExportError: if the files do not answer as the model does.
        FileExistsError: if the target is there.
        MissingExtraError: if onnx or ONNX Runtime is not installed.
    """
    _check_installed()
    folder = resolve(source)
    refuse_existing(target)
    say("Loading")
    predictor = _predictor(folder)
    with written_whole(target) as partial:
        _copy_descriptions(folder, partial, precision)
        for part, graph in _graphs(predictor.model, predictor.settings, precision):
            say(f"Writing {part}")
            _save(graph, file_of(partial, part))
        say("Comparing with the model")
        _verify(predictor, OnnxModel.of_folder(partial))
        (partial / SUMS).write_text(sums(partial), "utf-8")
    return target


def refuse_existing(target: Path) -> None:
    """Check that a folder can be written anew.

    Raises:
        FileExistsError: if it is there.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there; name another folder, or remove it.")


def _check_installed() -> None:
    try:
        import onnx
        import onnxruntime

        del onnx, onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"Exporting needs onnx and onnxruntime ({error}): pip install 'claip-emo[export]'."
        ) from error


def _predictor(folder: Path) -> ModelPredictor:
    from claip_emo.inference.predictor import ModelPredictor
    from claip_emo.model.modeling import ClaipEmoModel
    from claip_emo.model.processing import ClaipEmoProcessor

    model = ClaipEmoModel.from_pretrained(folder)
    return ModelPredictor(model, ClaipEmoProcessor.from_pretrained(folder), "fp32")


def _copy_descriptions(folder: Path, target: Path, precision: str) -> None:
    """Write what describes the model, and under which terms it is used."""
    copies = {CONFIG: CONFIG, PROCESSOR_CONFIG: PROCESSOR_CONFIG, CARD: MODEL_CARD}
    for name, copy in (copies | {LICENCE: LICENCE}).items():
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / copy)
    (target / CARD).write_text(README.format(precision=precision, sums=SUMS), "utf-8")


def _graphs(
    model: ClaipEmoModel, settings: ProcessorSettings, precision: GraphPrecision
) -> Iterator[tuple[str, ModelProto]]:
    """Yield the parts that a merged model has, by name."""
    from claip_emo.model.graph_heads import fusion_graph, temporal_graph
    from claip_emo.model.graph_towers import audio_graph, vision_graph

    side = settings.image_size_px
    if model.config.reads_video:
        shape = settings.image_channels, side, side
        yield exported.VISION, vision_graph(model.vision_tower, shape, precision)
        yield exported.TEMPORAL, temporal_graph(model.temporal, model.video_width)
    if model.config.reads_audio:
        yield exported.AUDIO, audio_graph(model.audio_tower, settings.mel_shape[1:], precision)
    yield exported.HEAD, fusion_graph(model.head, model.audio_width, model.video_width)


def _save(graph: ModelProto, path: Path) -> None:
    import onnx

    size = sum(len(weight.raw_data) for weight in graph.graph.initializer)
    beside = f"{path.name}.data"
    onnx.save(graph, path, save_as_external_data=size > ONE_FILE_BYTES, location=beside)


def _verify(model: ModelPredictor, files: OnnxModel) -> None:
    """Let both answer to made clips.

    Raises:
        ExportError: if they differ by more than rounding.
    """
    clips = _made_clips(model.settings, np.random.default_rng(0))
    if files.precision == "int8":
        cosine = min(_cosine(model, files, clip) for clip in clips)
        if not cosine >= SMALLEST_COSINE:
            raise ExportError(
                f"Features in int8 have a cosine of {cosine:.3f} with those of the model, less "
                f"than {SMALLEST_COSINE}: this model does not stand int8. Export it in fp32."
            )
        return
    apart = max(_distance(model, files, clips, asked) for asked in model.config.modalities)
    if not apart <= LARGEST_DISTANCE:
        raise ExportError(
            f"The exported model's probabilities are up to {apart:.1e} off, more than "
            f"{LARGEST_DISTANCE:g}; nothing was written. Please report this with your config.json."
        )


def _made_clips(settings: ProcessorSettings, rng: np.random.Generator) -> list[Clip]:
    """Return noise to look at and to listen to: both, and each alone."""
    side, time = settings.image_size_px, min(settings.num_frames, TRIED_FRAMES)
    frames = rng.integers(0, 256, (1, time, side, side, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, settings.samples).astype(np.float32)
    times, span = np.arange(time)[None] / 25, (0.0, settings.audio_s)
    return [
        Clip(
            "noise",
            frames if "v" in there else None,
            times if "v" in there else None,
            (sound,) if "a" in there else (),
            (span,) if "a" in there else (),
            settings.audio_s,
        )
        for there in ("av", "v", "a")
    ]


def _distance(
    model: ModelPredictor, files: OnnxModel, clips: Sequence[Clip], asked: Modality
) -> float:
    """Return how far probabilities are apart at most."""
    wanted = model.score(clips, asked).probabilities
    try:
        return float(np.abs(files.score(clips, asked).probabilities - wanted).max())
    except ValueError:  # logits that are no numbers
        return math.inf


def _cosine(model: ArrayEncoder, files: ArrayEncoder, clip: Clip) -> float:
    """Return the least cosine of what towers make of a clip; 1 where no tower reads it."""
    seen, heard = model.config.reads_video and clip.has_video, model.config.reads_audio
    frames = clip.frames[0] if seen else exported.NO_FRAMES
    sounds = clip.waveforms if heard else ()
    cosines = [
        np.sum(one * other, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        for one, other in zip(
            model.encode(frames, sounds), files.encode(frames, sounds), strict=True
        )
        if one.size
    ]
    return min((float(each.min()) for each in cosines), default=1.0)
