"""Decoding: one container, two streams, one clock.

A first pass over the packets, without decoding, tells when each frame is shown; the choice of
frames is made on that table, and a second pass decodes, keeps and scales only what was chosen. So a
two-hour file needs no more memory than a short one. Sound is placed by its timestamps: AAC returns
more samples than were put in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

SEEK_AHEAD_S = 10.0  # wanted parts that lie further apart are sought, nearer ones decoded through
JITTER_S = 0.03  # timestamps of sound that differ less than this from the samples are rounding
LEAD_IN_S = 0.5  # decoded before a sought piece of sound, so that the codec has settled
ONE_FRAME_A_PACKET = {"h264", "hevc", "mjpeg", "png", "rawvideo", "ffv1", "prores", "vp9", "av1"}
COUNT_BY_DECODING = 5000  # packets up to which other codecs are counted by decoding them


class MediaError(ValueError):
    """A file that yields nothing, and why."""


@dataclass(slots=True)
class Track:
    """What the packets tell of a file.

    Attributes:
        path: the file.
        frame_pts: (frame,), ascending, in the video stream's units.
        frame_times_s: (frame,), the same on the clock, whose zero is the start of the file.
        sound_s: start and end of the sound on the clock; None: there is none.
        zero_s: the clock's zero in the container's own time.
        warnings: what was wrong with the file.
    """

    path: str
    frame_pts: NDArray[np.int64]
    frame_times_s: NDArray[np.float64]
    sound_s: tuple[float, float] | None
    zero_s: float
    warnings: list[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """The longer of the two streams; the last frame lasts as long as frames do on average."""
        ends = [0.0]
        if len(self.frame_times_s):
            first, last = self.frame_times_s[0], self.frame_times_s[-1]
            shown = (last - first) / max(len(self.frame_times_s) - 1, 1)
            ends.append(float(last + shown))
        if self.sound_s is not None:
            ends.append(self.sound_s[1])
        return max(ends)


def open_media(path: str) -> Any:
    """Open a container.

    Raises:
        MediaError: if the file is missing, empty, a folder, or not media.
    """
    file = Path(path)
    if not file.exists():
        raise MediaError(f"{path}: there is no such file.")
    if file.is_dir():
        raise MediaError(f"{path}: this is a folder without images.")
    if file.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty (0 bytes).")
    try:
        return av.open(str(path), metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{path}: this cannot be read as video or sound ({reason}); it is another kind of "
            "file, or was cut off before its index was written."
        ) from error


def scan(path: str, *, video: bool = True, audio: bool = True) -> Track:
    """Read the packets of a file, without decoding, and return its table of frames.

    Args:
        path: the file.
        video: look for a picture.
        audio: look for sound.

    Raises:
        MediaError: if it cannot be opened.
    """
    with open_media(path) as container:
        picture = video_stream(container) if video else None
        sound = audio_stream(container) if audio else None
        streams = [stream for stream in (picture, sound) if stream is not None]
        pts: list[int] = []
        undated = 0
        heard: list[tuple[float, float]] = []
        warnings: list[str] = []
        for packet in _packets(container, streams, warnings):
            if packet.size == 0 or packet.is_discard:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.stream == picture:
                undated += stamp is None
                pts.append(stamp if stamp is not None else len(pts))
            elif stamp is not None:
                begin = float(stamp * packet.time_base)
                heard.append((begin, begin + float((packet.duration or 0) * packet.time_base)))
        frame_pts = np.array(sorted(set(pts)), dtype=np.int64)
        times: NDArray[np.float64] = np.zeros(0)
        if picture is not None and len(frame_pts):
            if undated:
                frame_pts = np.arange(len(pts))
                times = np.asarray(frame_pts / float(picture.average_rate or 25), np.float64)
            else:
                times = np.asarray(frame_pts * float(picture.time_base), np.float64)
        span = _sound_span(sound, heard)
        starts = [*times[:1].tolist(), *(span[:1] if span else ())]
        zero = min(starts, default=0.0)
        found = Track(
            path,
            frame_pts,
            times - zero,
            (span[0] - zero, span[1] - zero) if span else None,
            zero,
            warnings,
        )
        promised = picture.frames if picture is not None else 0
        name = picture.codec_context.name if picture is not None else ""
    known = name in ONE_FRAME_A_PACKET and not undated
    if len(frame_pts) and not known and len(frame_pts) <= COUNT_BY_DECODING:
        found = recount(found)
    if len(found.frame_pts) < min(0.98 * promised, promised - 1):
        found.warnings.append(
            f"truncated: {len(found.frame_pts)} of {promised} frames are in the file"
        )
    return found


def recount(track: Track) -> Track:
    """Return the table of the frames that really decode, for files whose packets do not tell."""
    pts: list[int] = []
    with open_media(track.path) as container:
        stream = video_stream(container)
        errors = 0
        for packet in _packets(container, [stream], []):
            frames, failed = _decode(packet)
            errors += failed
            pts += [frame.pts if frame.pts is not None else len(pts) for frame in frames]
        base = float(stream.time_base)
    kept = np.array(sorted(set(pts)), dtype=np.int64)
    times = np.asarray(kept * base - track.zero_s, np.float64)
    warnings = list(track.warnings)
    if errors or len(kept) < len(track.frame_pts):
        warnings.append(f"damaged: {len(kept)} of {len(track.frame_pts)} frames could be decoded")
    return Track(track.path, kept, times, track.sound_s, track.zero_s, warnings)


def read_frames(
    track: Track, wanted: Iterable[int], convert: Callable[[Any, float], NDArray[np.uint8]]
) -> dict[int, NDArray[np.uint8]]:
    """Decode sequentially and convert the wanted frames; parts far ahead are sought.

    Args:
        track: the file's table.
        wanted: indices into the table.
        convert: makes an array of a decoded frame and the width of its pixels relative to
            their height; called for wanted frames only.

    Returns:
        Index -> array, for those that could be decoded.
    """
    order = sorted(set(wanted))
    place = {int(pts): index for index, pts in enumerate(track.frame_pts)}
    found: dict[int, NDArray[np.uint8]] = {}
    with open_media(track.path) as container:
        stream = video_stream(container)
        stream.thread_type = "AUTO"
        aspect = float(stream.sample_aspect_ratio or 1)
        for run in _runs(order, track.frame_times_s):
            if track.frame_times_s[run[0]] - _position(run, order, track) > SEEK_AHEAD_S:
                container.seek(int(track.frame_pts[run[0]]), stream=stream, backward=True)
            left = set(run)
            counted = 0
            for packet in _packets(container, [stream], []):
                for frame in _decode(packet)[0]:
                    index = place.get(frame.pts if frame.pts is not None else counted)
                    counted += 1
                    if index in left:
                        found[index] = convert(frame, aspect)
                        left.discard(index)
                if not left:
                    break
    return found


def read_sound(
    track: Track, spans: Sequence[tuple[float, float]], rate: int
) -> list[NDArray[np.float32]]:
    """Decode the wanted seconds of sound, mixed to mono and resampled.

    Args:
        track: the file's table.
        spans: start and end on the clock, in seconds.
        rate: samples per second of the result.

    Returns:
        One array per span, (samples,), in [-1, 1]; silence where the file has a gap.
    """
    pieces: dict[tuple[float, float], NDArray[np.float32]] = {}
    failed = 0
    with open_media(track.path) as container:
        stream = audio_stream(container)
        for number, (begin, end) in enumerate(sorted(set(spans))):
            start = begin + track.zero_s
            if number or begin > SEEK_AHEAD_S:
                target = max(start - LEAD_IN_S, 0.0)
                container.seek(int(target / stream.time_base), stream=stream, backward=True)
                stream.codec_context.flush_buffers()
            piece, errors = _piece(container, stream, start, end + track.zero_s, rate)
            failed += errors
            pieces[(begin, end)] = piece
    if failed:
        track.warnings.append(f"damaged: {failed} pieces of the sound could not be decoded")
    return [pieces[span] for span in spans]


def _piece(
    container: Any, stream: Any, start: float, end: float, rate: int
) -> tuple[NDArray[np.float32], int]:
    """Decode one piece of sound, [start, end) in the container's time."""
    native = stream.rate
    mono = av.AudioResampler(format="fltp", layout="mono", rate=native)
    buffer = np.zeros(max(1, round((end - start) * native)), np.float32)
    expected: int | None = None
    failed = 0
    for packet in _packets(container, [stream], []):
        frames, errors = _decode(packet)
        failed += errors
        for frame in frames:
            if frame.pts is None or frame.rate != native:
                continue
            stamped = round((float(frame.pts * frame.time_base) - start) * native)
            near = expected is not None and abs(stamped - expected) < JITTER_S * native
            place = expected if near and expected is not None else stamped
            samples = np.concatenate([part.to_ndarray()[0] for part in mono.resample(frame)])
            low, high = max(place, 0), min(place + len(samples), len(buffer))
            if low < high:
                buffer[low:high] = samples[low - place : high - place]
            expected = place + len(samples)
        if expected is not None and expected >= len(buffer):
            break
    return np.clip(_resampled(buffer, native, rate), -1, 1), failed


def _resampled(samples: NDArray[np.float32], native: int, rate: int) -> NDArray[np.float32]:
    if native == rate:
        return samples
    frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
    frame.rate = native
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
    parts = [
        part.to_ndarray()[0] for part in [*resampler.resample(frame), *resampler.resample(None)]
    ]
    wanted = max(1, round(len(samples) * rate / native))
    joined = np.concatenate([*parts, np.zeros(wanted, np.float32)])
    return joined[:wanted].astype(np.float32)


def video_stream(container: Any) -> Any:
    """Return the largest video stream that is no cover picture, or None."""
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & av.stream.Disposition.attached_pic
        and stream.codec_context is not None
        and stream.codec_context.width > 0
    ]
    return max(streams, key=lambda s: s.codec_context.width * s.codec_context.height, default=None)


def audio_stream(container: Any) -> Any:
    """Return the first audio stream that can be decoded, or None."""
    streams = container.streams.audio
    return next((s for s in streams if s.codec_context is not None and s.rate), None)


def _packets(container: Any, streams: Sequence[Any], warnings: list[str]) -> Iterator[Any]:
    """Yield packets until the end, or until the container is too damaged to go on."""
    if not streams:
        return
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (FFmpegError, OSError) as error:
            warnings.append(f"truncated: the file cannot be read to its end ({error.strerror})")
            return
        yield packet


def _decode(packet: Any) -> tuple[list[Any], int]:
    """Decode one packet; a damaged one yields nothing and counts as one error."""
    try:
        return list(packet.decode()), 0
    except (FFmpegError, OSError):
        return [], 1


def _sound_span(stream: Any | None, heard: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Return start and end of the sound: what the container says, within what its packets hold."""
    if stream is None or not heard:
        return None
    begin = min(start for start, _ in heard)
    end = max(stop for _, stop in heard)
    if stream.start_time is not None:
        begin = max(begin, float(stream.start_time * stream.time_base))
    if stream.duration:  # without the padding that a codec adds to fill its last block
        end = min(end, begin + float(stream.duration * stream.time_base))
    return (begin, end) if end > begin else None


def _runs(order: Sequence[int], times: NDArray[np.float64]) -> list[list[int]]:
    """Divide wanted frames into runs without a gap that is worth a seek."""
    runs: list[list[int]] = []
    for index in order:
        if runs and times[index] - times[runs[-1][-1]] <= SEEK_AHEAD_S:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _position(run: list[int], order: Sequence[int], track: Track) -> float:
    """Return the time up to which the runs before this one have decoded the file."""
    before = order.index(run[0]) - 1
    return float(track.frame_times_s[order[before]]) if before >= 0 else 0.0
