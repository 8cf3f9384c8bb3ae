"""EmotionRecognizer: a path becomes an emotion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claip_emo.inference.abstention import AbstainChoice, Abstention
from claip_emo.inference.pipeline import (
    Failing,
    Loaded,
    Pace,
    PacedDetector,
    batches,
    read_ahead,
)
from claip_emo.inference.predictor import ModelPredictor, Predictor, load_predictor
from claip_emo.inference.reader import FRAMES_AHEAD, ModalityChoice, Reader
from claip_emo.inference.result import EmotionResult, failed, result_of
from claip_emo.inference.timeline import FacesChoice, Progress, make_timeline
from claip_emo.inference.timeline_result import Timeline
from claip_emo.labels import LabelSet
from claip_emo.media.clip import Clip
from claip_emo.media.spec import DetectorKind
from claip_emo.model.checkpoint_folder import resolve
from claip_emo.model.description import Modality

if TYPE_CHECKING:
    from claip_emo.inference.explanation import Explanation
    from claip_emo.model.modeling import ClaipEmoModel
    from claip_emo.model.precision import PrecisionChoice
    from claip_emo.model.processing import ClaipEmoProcessor

BATCH_SIZE = 8  # views, 128 frames: four clips of 10 s


class EmotionRecognizer:
    """Recognises the emotion that a person on a video shows, from face and voice.

    Args:
        predictor: turns clips into scores; ``of_model`` makes one of a model.
        face_detector: overrides the checkpoint's detector.
        face_model: YuNet's model file, where it is not to come from the hub.
        reader: what reads files, with its detector; None: one is made for the predictor.
        abstain_below: score below which the label is ``uncertain``; ``auto`` takes what
            calibration found for what a file has; None: an emotion is always named.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        face_detector: DetectorKind | None = None,
        face_model: str | Path | None = None,
        reader: Reader | None = None,
        abstain_below: AbstainChoice = None,
    ):
        """Make the detector.

        Raises:
            FaceModelError: if the detector's model file is missing or broken.
            AbstainError: if the model cannot abstain so.
            ValueError: if the reader is another model's.
        """
        self.predictor = predictor
        self.abstention = Abstention.of(abstain_below, predictor.config)
        if reader is not None and (face_detector or face_model):
            raise ValueError("A reader has its detector; give face_detector to one of them.")
        theirs = predictor.settings, predictor.config.modality
        if reader is not None and (reader.settings, reader.reads) != theirs:
            raise ValueError("The reader is another checkpoint's: its towers want other input.")
        self.reader = reader or Reader(*theirs, face_detector=face_detector, face_model=face_model)

    @classmethod
    def of_model(
        cls,
        model: ClaipEmoModel,
        processor: ClaipEmoProcessor,
        *,
        precision: PrecisionChoice = "auto",
        **choices: Any,
    ) -> EmotionRecognizer:
        """Return the recogniser of a model that is in memory.

        Args:
            model: a trained model; its LoRA is merged for speed.
            processor: what the model's towers want to see.
            precision: number format of the towers; ``auto`` is the faster of fp32 and bf16.
            choices: ``face_detector``, ``face_model``, ``reader`` and ``abstain_below``.

        Raises:
            FaceModelError: if the detector's model file is missing or broken.
            ValueError: if the model's device does not compute in the precision, or the reader is
                another model's.
        """
        return cls(ModelPredictor(model, processor, precision), **choices)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        device: str = "auto",
        face_detector: DetectorKind | None = None,
        face_model: str | Path | None = None,
        precision: PrecisionChoice = "auto",
        reader: Reader | None = None,
        abstain_below: AbstainChoice = None,
        **hub: Any,
    ) -> EmotionRecognizer:
        """Load a recogniser from a run's folder, its ``model/``, or a hub id.

        Args:
            source: where from; None: the small model that the package carries.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``; ``auto`` leaves ResNets, as the small
                model in the package has them, on the CPU.
            face_detector: overrides the checkpoint's detector.
            face_model: YuNet's model file, where it is not to come from the hub.
            precision: number format of the towers.
            reader: what reads files for the same checkpoint, where one was made before.
            abstain_below: score below which the label is ``uncertain``; ``auto``: the checkpoint's.
            hub: what huggingface_hub's ``snapshot_download`` takes, such as ``revision``.

        Raises:
            CheckpointError: if it is no checkpoint, or the package carries no model.
            BackboneError: if the towers it refers to cannot be had.
            AbstainError: if the model cannot abstain so.
            ValueError: if there is no such device, or it does not compute in the precision.
        """
        folder = resolve(source, **hub)
        predictor = load_predictor(folder, device, precision)
        return cls(
            predictor,
            face_detector=face_detector,
            face_model=face_model,
            reader=reader,
            abstain_below=abstain_below,
        )

    @property
    def labels(self) -> LabelSet:
        """The emotions it tells apart."""
        return self.predictor.config.label_set

    def __call__(
        self, path: str | Path, *, modality: ModalityChoice = "av", audio: str | Path | None = None
    ) -> EmotionResult:
        """Recognise the emotion in one file or folder of frames.

        Args:
            path: a video, a sound file, or a folder of frames.
            modality: use face and voice, or only one of them; ``av`` is what the model reads.
            audio: a sound file that belongs to a silent video.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            ModalityError: if the model does not read the modality that is asked for.
        """
        return self.recognize(self.load(path, modality, audio), modality, path=str(path))

    def load(
        self, path: str | Path, modality: ModalityChoice = "av", audio: str | Path | None = None
    ) -> Clip:
        """Read what the towers need from a file; up to 10 s two views, longer files up to 8.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            ModalityError: if the model does not read the modality that is asked for.
        """
        return self.reader.load(path, self.reader.mask(modality), audio=audio)

    def recognize(
        self, clip: Clip, modality: ModalityChoice = "av", *, path: str | None = None
    ) -> EmotionResult:
        """Recognise the emotion in a clip that was loaded already.

        Raises:
            MediaError: if a model of one modality finds nothing of it in the clip.
            ModalityError: if the model does not read the modality that is asked for.
        """
        self.reader.check(clip, path or clip.path)
        return self._results([clip], [path or clip.path], self.reader.mask(modality))[0]

    def recognize_all(
        self, clips: Sequence[Clip], modality: ModalityChoice = "av"
    ) -> list[EmotionResult]:
        """Recognise the emotion in clips that were loaded already, all at once.

        Where they cannot be scored together they are scored one by one, and one that cannot be
        scored is a row with its error.

        Raises:
            ModalityError: if the model does not read the modality that is asked for.
        """
        mask = self.reader.mask(modality)
        return self._rows([(clip.path, clip) for clip in clips], mask)

    def timeline(
        self,
        path: str | Path,
        *,
        window_s: float = 2.0,
        hop_s: float = 0.5,
        faces: FacesChoice = "main",
        modality: ModalityChoice = "av",
        audio: str | Path | None = None,
        progress: Progress | None = None,
    ) -> Timeline:
        """Find out who shows which emotion when, in a recording of any length.

        Args:
            path: a video, a sound file, or a folder of frames.
            window_s: length of the windows that are scored.
            hop_s: from one to the next.
            faces: ``all`` follows everybody, ``main`` the largest face of each moment.
            modality: use face and voice, or only one of them; ``av`` is what the model reads.
            audio: a sound file that belongs to a silent video.
            progress: is told how many of how many seconds of picture and sound are done.

        Raises:
            MediaError: if the file yields nothing that the model reads.
            ModalityError: if the model does not read the modality that is asked for.
            ValueError: if windows and hops are of no use.
        """
        return make_timeline(
            self.predictor,
            self.reader,
            path,
            self.reader.mask(modality),
            window_s=window_s,
            hop_s=hop_s,
            faces=faces,
            audio=audio,
            abstention=self.abstention,
            progress=progress,
        )

    def explain(self, clip: Clip, modality: ModalityChoice = "av") -> Explanation:
        """Say which frames, seconds and regions carried the label of a clip that was loaded.

        Raises:
            MediaError: if a model of one modality finds nothing of it in the clip.
            ModalityError: if the model does not read the modality that is asked for.
        """
        from claip_emo.inference.explain import explain

        self.reader.check(clip, clip.path)
        return explain(self.predictor, clip, self.reader.mask(modality))

    def many(
        self,
        paths: Iterable[str | Path],
        *,
        modality: ModalityChoice = "av",
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[EmotionResult]:
        """Recognise many files, one row each, in their order; a bad file is a row with its error.

        Files are read ahead by threads of their own, as many as compute, and scored in batches;
        in int8 one by one, as its rounding would follow from what else is in a batch. Closing the
        iterator ends them.

        Args:
            paths: what ``__call__`` takes; they are taken one by one, as there is room.
            modality: use face and voice, or only one of them; ``av`` is what the model reads.
            batch_size: views that are scored at once; a file of up to 10 s has one or two.

        Raises:
            ModalityError: if the model does not read the modality that is asked for.
            ValueError: if the batch size is below 1.
            Exception: what ``paths`` raises, after the rows of those before.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        return self._many(paths, self.reader.mask(modality), batch_size)

    def _many(
        self, paths: Iterable[str | Path], mask: Modality, batch_size: int
    ) -> Iterator[EmotionResult]:
        pace = Pace()
        finds = self.reader.detector
        detector = None if finds is None else PacedDetector(finds, pace)
        asked = Failing(paths)
        first = list(islice(asked, 2))
        frames_ahead = FRAMES_AHEAD if len(first) == 1 else 0  # several files overlap as they are

        def load(path: str | Path) -> Clip:
            pace.wait()
            clip = self.reader.load(
                path, mask, detector=detector, frames_ahead=frames_ahead, pace=pace
            )
            self.reader.check(clip, str(path))
            return clip

        readers = self.reader.at_once
        on_cpu = self.predictor.on_cpu
        num_frames = self.predictor.settings.num_frames
        every, most = chain(first, asked), batch_size + readers
        reading = read_ahead(load, every, pace, readers=readers, most=most)
        with closing(reading) as loaded:
            for batch in batches(loaded, num_frames, batch_size):
                with pace.paused() if on_cpu else nullcontext():
                    rows = self._rows(batch, mask)
                yield from rows
        if asked.error is not None:
            raise asked.error

    def _rows(self, loaded: list[Loaded[str | Path]], mask: Modality) -> list[EmotionResult]:
        """Score what could be loaded, at once; where that fails, one by one."""
        good = [(str(path), clip) for path, clip in loaded if isinstance(clip, Clip)]
        try:
            scored = iter(self._results([c for _, c in good], [p for p, _ in good], mask))
        except Exception as error:  # whatever one file does, the others go on
            if len(loaded) == 1:
                return [failed(str(path), error) for path, _ in loaded]
            return [row for one in loaded for row in self._rows([one], mask)]
        return [
            next(scored) if isinstance(found, Clip) else failed(str(path), found)
            for path, found in loaded
        ]

    def _results(
        self, clips: Sequence[Clip], paths: Sequence[str], mask: Modality
    ) -> list[EmotionResult]:
        """Score clips that have something of what is scored."""
        if not clips:
            return []
        scores = self.predictor.score(clips, mask).probabilities
        names = self.labels.names
        return [
            result_of(clip, path, mask, names, row, self.abstention)
            for clip, path, row in zip(clips, paths, scores, strict=True)
        ]
