"""The cache of prepared clips: decoded and cropped once, found by what their files hold.

Pictures and sound lie apart, each under the settings that decide what they are: another margin of
the crops makes new pictures and keeps the sound.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from claip_emo.corpora.base import OnProgress, Sample
from claip_emo.data.content import Content, Digests, Files
from claip_emo.data.shards import PICTURES, SOUND, DamagedShardError, Shelf, set_aside
from claip_emo.media.clip import ClipSpec
from claip_emo.media.decode import MediaError
from claip_emo.media.faces import FaceDetector, told_apart
from claip_emo.media.recording import Recording
from claip_emo.media.weakness import no_face, silent, why_nothing

logger = logging.getLogger(__name__)

Half = Literal["pictures", "sound"]

WAY = 3  # in which clips are prepared: raised where the same settings give other pixels or samples
JPEG_QUALITY = 95  # with all of the colour: 0.9 of 255 levels off on average, 20 kB at 224 px
JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]
HALVES: tuple[Half, ...] = ("pictures", "sound")


class ClipCache:
    """Prepared clips in a folder, as one spec wants them.

    It holds no more than where things are: processes that get it, or a copy of it, map the files
    themselves.

    Args:
        folder: of the cache; it need not be there.
        spec: what is taken of a clip: one or both modalities, size and margin of the crops.
        detector: how faces are found; None for clips that are cropped already.
    """

    def __init__(self, folder: Path, spec: ClipSpec, detector: FaceDetector | None):
        """Look at what is there.

        Raises:
            ValueError: if the folder is a file.
        """
        if folder.is_file():
            raise ValueError(f"{folder} is a file; name a folder for prepared clips.")
        self.folder = folder
        self.spec = spec
        self.detector = detector
        self._digests = folder / "digests.txt"
        self._found: dict[Files, Content | OSError] = {}
        self.shelves: dict[Half, Shelf] = {
            "pictures": Shelf(
                _named(folder, "pictures", picture_settings(spec, detector)), PICTURES
            ),
            "sound": Shelf(_named(folder, "sound", sound_settings(spec)), SOUND),
        }

    def look(self, samples: Iterable[Sample], progress: OnProgress | None = None) -> None:
        """Find out what the files of clips hold, and what is there of them.

        Args:
            samples: the clips. Files that did not change since they were read are not read again.
            progress: told how many are done of how many.
        """
        clips = list(dict.fromkeys(map(files_of, samples)))
        self._found |= Digests(self._digests).find(clips, progress)
        for shelf in self.shelves.values():
            shelf.refresh()

    def digest(self, sample: Sample) -> str | None:
        """Return the digest of a clip that was looked at; None: its files cannot be read."""
        found = self.content(sample)
        return found.digest if found is not None else None

    def content(self, sample: Sample) -> Content | None:
        """Return what a clip was when it was looked at; None: its files cannot be read."""
        found = self._found[files_of(sample)]
        return found if isinstance(found, Content) else None

    def lacks(self, sample: Sample) -> tuple[Half, ...]:
        """Return what must be prepared of a clip before it can be read from here.

        That is what the spec asks for; and the other half, where there is nothing in that.
        """
        clip = self.digest(sample)
        if clip is None:
            return ()
        lacking = tuple(half for half in self._asked if clip not in self.shelves[half])
        if not lacking and self._is_empty(clip):
            lacking = tuple(half for half in HALVES if clip not in self.shelves[half])
        return lacking

    def problem(self, sample: Sample) -> str | None:
        """Return why a clip cannot be read; None if it can, or is not prepared."""
        clip = self.digest(sample)
        if clip is not None:
            if self.lacks(sample):
                return None
            failed = any(self.shelves[half][clip].error is not None for half in self._asked)
            if not failed and not self._is_empty(clip):
                return None
        try:
            self.recording(sample)
        except MediaError as error:
            return str(error)
        return None

    def recording(self, sample: Sample) -> Recording | None:
        """Return a clip, or None if it is not prepared; frames are decoded as they are asked for.

        Times are on the clock of the whole file, also where its picture alone is asked for.

        Raises:
            MediaError: if the clip could not be read when it was prepared, or is nothing.
            DamagedShardError: if what was prepared is damaged.
        """
        found = self._found[files_of(sample)]
        if isinstance(found, OSError):
            raise MediaError(f"{found.filename or sample.path}: {found.strerror or found}.")
        if self.lacks(sample):
            return None
        clip = found.digest
        halves = HALVES if self._is_empty(clip) else self._asked
        rows = {half: _Row(*self.shelves[half].row(clip)) for half in halves}
        for row in rows.values():
            if row.error is not None:
                raise MediaError(f"{sample.path}: {row.error}")
        return _joined(str(sample.path), rows.get("pictures"), rows.get("sound"), self.spec)

    def set_aside(self, error: DamagedShardError) -> None:
        """Put a damaged shard out of the way, so that its clips are prepared anew."""
        logger.warning("%s; its clips are read from their files.", error)
        set_aside(error.shard)
        for shelf in self.shelves.values():
            shelf.forget(error.shard.name)

    @property
    def _asked(self) -> tuple[Half, ...]:
        wanted = {"pictures": self.spec.video, "sound": self.spec.audio}
        return tuple(half for half in HALVES if wanted[half])

    def _is_empty(self, clip: str) -> bool:
        """Whether there is nothing of what is asked for in a clip, though it could be read."""
        places = [self.shelves[half][clip] for half in self._asked]
        return all(place.is_empty and place.error is None for place in places)


def files_of(sample: Sample) -> Files:
    """Return the files of a clip and of its sound."""
    return sample.path, sample.audio_path


def picture_settings(spec: ClipSpec, detector: FaceDetector | None) -> dict[str, Any]:
    """Return what decides how the pictures of a clip look."""
    settings: dict[str, Any] = {"way": WAY, "size_px": spec.size_px, "jpeg_quality": JPEG_QUALITY}
    if detector is not None:
        settings |= told_apart(detector) | {"face_margin": spec.face_margin, "every": spec.stride}
    return settings


def sound_settings(spec: ClipSpec) -> dict[str, Any]:
    """Return what decides how the sound of a clip is kept."""
    return {"way": WAY, "sampling_rate_hz": spec.sampling_rate_hz}


def _named(folder: Path, half: Half, settings: dict[str, Any]) -> Path:
    key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
    return folder / f"{half}-{key}"


class _Row:
    """One row of a shard, whose long column stays where it is."""

    def __init__(self, shard: Path, batch: pa.RecordBatch, row: int):
        self.shard = shard
        self._batch = batch
        self._row = row
        self.error: str | None = self["error"].as_py()
        self.warnings: list[str] = self["warnings"].as_py()
        self.duration_s: float = self["duration_s"].as_py()

    def __getitem__(self, column: str) -> Any:
        return self._batch.column(column)[self._row]

    def numbers(self, column: str) -> NDArray[Any]:
        """Return a list of numbers as an array (items,)."""
        return np.asarray(self[column].values)

    def bytes(self) -> NDArray[np.uint8]:
        """Return the long column, without copying it."""
        held = self["data"].as_buffer()
        return np.frombuffer(held, np.uint8)


class JpegFrames:
    """The frames of a clip as JPEG; those that are asked for are decoded, each once."""

    def __init__(self, row: _Row, size_px: int):
        """Take a row of pictures."""
        self._shard = row.shard
        self._data = row.bytes()
        self._starts, self._lengths = row.numbers("starts"), row.numbers("lengths")
        self._checksums = row.numbers("checksums")
        self.shape = (len(self._starts), size_px, size_px, 3)

    @property
    def nbytes(self) -> int:
        """Bytes of the JPEGs."""
        return int(self._lengths.sum())

    def __getitem__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Decode the frames of some indices (...,) to (..., S, S, 3).

        Raises:
            DamagedShardError: if one of them is not what was written.
        """
        wanted, places = np.unique(indices, return_inverse=True)
        frames = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for frame, index in zip(frames, wanted.tolist(), strict=True):
            start = self._starts[index]
            encoded = self._data[start : start + self._lengths[index]]
            _check(encoded, self._checksums[index], self._shard)
            picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=frame)
        return frames[places.reshape(indices.shape)]


class StoredSamples:
    """The samples of a clip where they lie; those that are asked for are read."""

    def __init__(self, row: _Row, block: int):
        """Take a row of sound, and how many samples share a checksum."""
        self._shard = row.shard
        self._block = block
        self._samples = row.bytes().view("<i2")
        self._checksums = row.numbers("checksums")

    @property
    def nbytes(self) -> int:
        """Bytes of the samples."""
        return int(self._samples.nbytes)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    def __getitem__(self, part: slice) -> NDArray[np.int16]:
        """Return some samples in order.

        Raises:
            DamagedShardError: if they are not what was written.
        """
        start, stop, _ = part.indices(len(self))
        size = self._block
        for block in range(start // size, -(-stop // size)):
            held = self._samples[block * size : (block + 1) * size]
            _check(held, self._checksums[block], self._shard)
        return self._samples[start:stop]


def _check(part: NDArray[Any], checksum: int, shard: Path) -> None:
    if zlib.crc32(part) != checksum:
        raise DamagedShardError(shard, "a checksum differs")


def _joined(path: str, pictures: _Row | None, sound: _Row | None, spec: ClipSpec) -> Recording:
    """Join the halves of a clip; one is None where it is not asked for.

    Raises:
        MediaError: if there is nothing in them.
    """
    told = [warning for row in (pictures, sound) if row is not None for warning in row.warnings]
    frames, times_s, rate = None, np.zeros(0), None
    waveform, start_s, duration_s = None, 0.0, 0.0
    if sound is not None:
        samples = StoredSamples(sound, spec.sampling_rate_hz)
        waveform = samples if len(samples) else None
        duration_s = len(samples) / spec.sampling_rate_hz
    if pictures is not None:
        rate = pictures["face_rate"].as_py()
        told += no_face(rate)
        duration_s = pictures.duration_s
        if sound is not None:
            start_s = sound["start_s"].as_py() or 0.0
        if len(times_s := pictures.numbers("times_s")):
            frames = JpegFrames(pictures, spec.size_px)
    if sound is not None and waveform is None and sound["start_s"].is_valid:
        told.append(silent(None, ()))
    warnings = tuple(dict.fromkeys(told))
    if frames is None and waveform is None:
        raise MediaError(f"{path}: {why_nothing(warnings, spec)}")
    rate_hz = spec.sampling_rate_hz
    return Recording(path, frames, times_s, waveform, rate_hz, start_s, duration_s, rate, warnings)
