"""Finding faces in one picture: YuNet, OpenCV's Haar cascade, or none."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from claip_emo.hub import reachable
from claip_emo.media.spec import DetectorKind

logger = logging.getLogger(__name__)

YUNET_REPO = "opencv/face_detection_yunet"
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
FACE_MODEL_VARIABLE = "CLAIP_EMO_FACE_MODEL"
DETECT_PX = 640  # longest side on which faces are sought: 10 ms, and small faces are still found
YUNET_SCORE = 0.6
YUNET_SMALLEST_PX = 16  # of a picture; on narrower ones it sees faces in plain black
HAAR_FILE = "haarcascade_frontalface_default.xml"
HAAR_PIXELS = 360 * 202  # on which it looks: half the time of 640 x 360
HAAR_SMALLEST_PX = 20  # there; a tenth of the height of a film is still a face
HAAR_NEIGHBOURS = 5


class FaceModelError(ValueError):
    """The detector's model file is missing, broken or not the one that was expected."""


class FaceDetector(Protocol):
    """Finds faces in a picture."""

    name: str

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture.

        Args:
            frame: (height, width, 3), uint8 RGB.

        Returns:
            (face, 5): x, y, width, height in px of ``frame``, and a score in [0, 1].
        """
        ...


@runtime_checkable
class TurnedFaceDetector(Protocol):
    """Finds faces, and tells how far they are turned."""

    def detect_turned(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture (height, width, 3) as ``turned_faces`` does, (face, 6)."""
        ...


class _PerThread:
    """Makes the OpenCV object anew in each thread and process: it is neither shared nor pickled."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()


class YuNet(_PerThread):
    """OpenCV's FaceDetectorYN with YuNet's weights (Wu et al. 2023, MIT)."""

    name = "yunet"

    def __init__(self, model_file: Path):
        """Load the weights once, to find out now whether they can be loaded.

        Raises:
            FaceModelError: if they cannot.
        """
        super().__init__()
        self.model_file = model_file
        if not model_file.is_file():
            raise FaceModelError(f"{model_file}: there is no such YuNet model file (--face-model).")
        try:
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise FaceModelError(
                f"{model_file} is no YuNet model that OpenCV can load: {YUNET_FILE} from "
                f"huggingface.co/{YUNET_REPO} is one."
            ) from error

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture, (face, 5)."""
        return self.detect_turned(frame)[:, :5]

    def detect_turned(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture and how far each is turned, (face, 6).

        A face is turned by as many distances of the eyes as the nose lies beside their middle.
        """
        small, scale = _shrunk(frame, DETECT_PX / max(frame.shape[:2]))
        if min(small.shape[:2]) < YUNET_SMALLEST_PX:
            return np.zeros((0, 6), np.float32)
        net = getattr(self._local, "net", None)
        if net is None:
            net = cv2.FaceDetectorYN.create(str(self.model_file), "", (320, 320), YUNET_SCORE)
            self._local.net = net
        net.setInputSize((small.shape[1], small.shape[0]))
        _, faces = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if faces is None:
            return np.zeros((0, 6), np.float32)
        boxes = np.hstack([faces[:, [0, 1, 2, 3, 14]] / ([scale] * 4 + [1]), _turns(faces)])
        sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:4] > 0).all(axis=1)
        return np.asarray(boxes[sound], np.float32)


class Haar(_PerThread):
    """OpenCV's frontal Haar cascade: carried by the package, but it misses turned faces."""

    name = "haar"

    def detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the faces of a picture, (face, 5); the score grows with the cascade's weight."""
        cascade = getattr(self._local, "cascade", None)
        if cascade is None:
            folder = Path(cv2.__file__).parent / "data"  # where the package keeps the cascades
            cascade = cv2.CascadeClassifier(str(folder / HAAR_FILE))
            self._local.cascade = cascade
        small, scale = _shrunk(frame, math.sqrt(HAAR_PIXELS / (frame.shape[0] * frame.shape[1])))
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        smallest = (HAAR_SMALLEST_PX, HAAR_SMALLEST_PX)
        boxes, _, weights = cascade.detectMultiScale3(
            grey, 1.1, HAAR_NEIGHBOURS, minSize=smallest, outputRejectLevels=True
        )
        if not len(boxes):
            return np.zeros((0, 5), np.float32)
        score = 1 / (1 + np.exp(-np.asarray(weights, np.float32).reshape(-1, 1) / 4))
        return np.hstack([np.asarray(boxes, np.float32) / scale, score]).astype(np.float32)


def model_file_of(detector: FaceDetector | None) -> Path | None:
    """Return the file with a detector's weights; None: it has none of its own."""
    file: Path | None = getattr(detector, "model_file", None)
    return file


def told_apart(detector: FaceDetector | None) -> dict[str, str | None]:
    """Return what tells a detector from any other: its name, and its weights' digest."""
    file = model_file_of(detector)
    return {
        "detector": "none" if detector is None else detector.name,
        "detector_model": None if file is None else hashlib.blake2b(file.read_bytes()).hexdigest(),
    }


def turned_faces(detector: FaceDetector, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the faces of a picture and how far each is turned, (face, 6).

    The last column is NaN where the detector sees boxes only; else as in ``YuNet.detect_turned``.
    """
    if isinstance(detector, TurnedFaceDetector):
        return detector.detect_turned(frame)
    boxes = detector.detect(frame)
    return np.hstack([boxes, np.full((len(boxes), 1), np.nan, np.float32)])


def _turns(faces: NDArray[Any]) -> NDArray[np.float32]:
    """Return how far faces are turned, (face, 1): YuNet's points are right eye, left eye, nose."""
    right, left, nose = faces[:, 4:6], faces[:, 6:8], faces[:, 8:10]
    along = left - right
    beside = ((nose - (left + right) / 2) * along).sum(axis=1, keepdims=True)
    squared = (along**2).sum(axis=1, keepdims=True)
    return np.asarray(np.abs(beside) / np.maximum(squared, 1), np.float32)


def make_detector(kind: DetectorKind, model_file: Path | None = None) -> FaceDetector | None:
    """Return the detector of a kind; None for ``none``.

    ``auto`` is YuNet where its model file can be had (given, named by ``CLAIP_EMO_FACE_MODEL``, in
    the hub's cache, or on the hub), else the Haar cascade with a warning.

    Args:
        kind: which.
        model_file: YuNet's model file; it is not checked against the hub's.

    Raises:
        FaceModelError: if YuNet is asked for and its file is missing, broken or altered.
    """
    if kind == "none":
        return None
    if kind == "haar":
        return Haar()
    if kind not in ("auto", "yunet"):
        raise FaceModelError(f"Unknown face detector {kind!r}; it is auto, yunet, haar or none.")
    named = model_file or os.environ.get(FACE_MODEL_VARIABLE)
    if named:
        return YuNet(Path(named))
    try:
        return YuNet(_yunet_from_hub())
    except FaceModelError:
        raise
    except Exception as error:  # the hub's client raises many unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if kind == "yunet":
            raise FaceModelError(
                f"YuNet's model file could not be fetched ({reason}). Give it with --face-model "
                f"FILE or {FACE_MODEL_VARIABLE}; it is {YUNET_FILE} of huggingface.co/{YUNET_REPO}."
            ) from error
    logger.warning(
        "Faces are sought with OpenCV's Haar cascade, the weaker detector: it misses turned faces. "
        "YuNet's model file could not be had; give it with --face-model FILE or %s.",
        FACE_MODEL_VARIABLE,
    )
    return Haar()


def _yunet_from_hub() -> Path:
    """Return YuNet's file from the hub's cache, or fetch it once; its sha256 is checked."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(YUNET_REPO, YUNET_FILE)
    if not isinstance(cached, str) and not reachable():
        raise OSError("the hub cannot be reached")
    path = Path(cached if isinstance(cached, str) else hf_hub_download(YUNET_REPO, YUNET_FILE))
    if hashlib.sha256(path.read_bytes()).hexdigest() != YUNET_SHA256:
        raise FaceModelError(
            f"{path} is not the published YuNet file (its sha256 differs): delete it, or give a "
            "file that you trust with --face-model."
        )
    return path


def _shrunk(frame: NDArray[np.uint8], scale: float) -> tuple[NDArray[np.uint8], float]:
    """Scale a picture down to the size on which faces are sought; return it and the scale."""
    if scale >= 1.0:
        return frame, 1.0
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8), scale
