"""Decoding the picture: one container, two streams, one clock.

A first pass over the packets, without decoding, tells when each frame is shown; the choice of
frames is made on that table, and a second pass decodes, keeps and scales only what was chosen. So a
two-hour file needs no more memory than a short one. ``media.sound`` does the same for the sound.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from claip_emo.media.container import (
    MediaError,
    audio_stream,
    decoded,
    go_to,
    open_media,
    packets,
    video_stream,
    with_threads,
)
from claip_emo.media.header import counts_its_frames, promised_bytes

__all__ = ["MediaError", "Track", "read_frames", "recount", "scan"]

SEEK_AHEAD_S = 10.0  # wanted parts that lie further apart are sought, nearer ones decoded through
REORDERED_S = 1.0  # more than any codec delays a frame; sought that much earlier, waited that long
ONE_FRAME_A_PACKET = {"h264", "hevc", "mjpeg", "png", "rawvideo", "ffv1", "prores", "vp9", "av1"}
MARKS_REFERENCES = {"h264", "hevc"}  # what no frame is predicted from says so: it can be left out
COUNT_BY_DECODING = 5000  # packets up to which other codecs are counted by decoding them
# Containers whose header states the true length; others guess it from the bit rate.
STATES_ITS_LENGTH = {"matroska,webm", "avi", "flv", "wav", "flac", "mov,mp4,m4a,3gp,3g2,mj2"}
DEFAULT_FPS = 25.0
PADDING_S = 0.2
SCATTERED, SCATTERED_S = 10.0, 60.0  # times as long as the packets, and a minute: timestamps lie
LEAST_PART = 0.05  # of the packets of the largest part: sound after a long gap, no damaged stamp


@dataclass(slots=True)
class Track:
    """What the packets tell of a file.

    Attributes:
        path: the file.
        frame_pts: (frame,), ascending, in the video stream's units; 0, 1, 2 ... if ``by_count``.
        frame_times_s: (frame,), the same on the clock, whose zero is the start of the file.
        sound_s: start and end of the sound on the clock; None: there is none.
        zero_s: the clock's zero in the container's own time.
        by_count: frames are told apart by their place alone, as their timestamps are missing or
            wrong (raw streams, reordered frames in avi).
        frame_s: how long a frame is shown where there is only one.
        warnings: what was wrong with the file.
    """

    path: str
    frame_pts: NDArray[np.int64]
    frame_times_s: NDArray[np.float64]
    sound_s: tuple[float, float] | None
    zero_s: float
    by_count: bool = False
    frame_s: float = 1 / DEFAULT_FPS
    warnings: list[str] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """The longer of the two streams; the last frame lasts as long as frames do on average."""
        ends = [0.0]
        if len(self.frame_times_s):
            first, last = self.frame_times_s[0], self.frame_times_s[-1]
            steps = len(self.frame_times_s) - 1
            ends.append(float(last + ((last - first) / steps if steps else self.frame_s)))
        if self.sound_s is not None:
            ends.append(self.sound_s[1])
        return max(ends)


def scan(path: str, *, video: bool = True, audio: bool = True) -> Track:
    """Read the packets of a file, without decoding, and return its table of frames.

    Args:
        path: the file.
        video: look for a picture.
        audio: look for sound.

    Raises:
        MediaError: if it cannot be opened.
    """
    warnings: list[str] = []
    pts: list[int | None] = []
    dts: list[int | None] = []
    hidden = 0  # frames before the start that an edit list sets
    starts, ends = array("d"), array("d")  # of the packets of sound, in seconds
    with open_media(path) as container:
        picture = video_stream(container) if video else None
        sound = audio_stream(container) if audio else None
        streams = [stream for stream in (picture, sound) if stream is not None]
        if audio and sound is None and container.streams.audio:
            warnings.append("damaged: there is sound, but of a kind or rate that cannot be decoded")
        for packet in packets(container, streams, warnings):
            if packet.size == 0:
                continue
            if packet.stream == picture:
                hidden += packet.is_discard
                if not packet.is_discard:
                    pts.append(packet.pts)
                    dts.append(packet.dts)
            elif packet.pts is not None and not packet.is_discard:
                starts.append(float(packet.pts * packet.time_base))
                stop = packet.pts + (packet.duration or 0)
                ends.append(float(stop * packet.time_base))
        # avi stores the order of decoding only: what is reordered has no true timestamps there.
        by_count = (
            None in pts
            or (container.format.name == "avi" and pts != dts)
            or (picture is not None and _scattered(pts, picture))
        )
        frame_pts, times = _table(picture, pts, dts, by_count)
        span = _sound_span(sound, np.array(starts), np.array(ends))
        zero = min([*times[:1].tolist(), *(span[:1] if span else ())], default=0.0)
        found = Track(
            path,
            frame_pts,
            times - zero,
            (span[0] - zero, span[1] - zero) if span else None,
            zero,
            by_count,
            1 / float(picture.average_rate or DEFAULT_FPS) if picture is not None else 0.0,
            warnings,
        )
        name = picture.codec_context.name if picture is not None else ""
        cut = _cut_off(container, picture, streams, len(pts) + hidden, found)
    known = name in ONE_FRAME_A_PACKET and not by_count
    if len(frame_pts) and not known and len(frame_pts) <= COUNT_BY_DECODING:
        found = recount(found)
    if cut:
        found.warnings.append(cut)
    return found


def recount(track: Track) -> Track:
    """Return the table of the frames that really decode, for files whose packets do not tell."""
    pts: list[int | None] = []
    failed = 0
    with open_media(track.path) as container:
        stream = video_stream(container)
        with_threads(stream)
        for packet in packets(container, [stream], []):
            frames, errors = decoded(packet)
            failed += errors
            pts += [frame.pts for frame in frames]
        base = float(stream.time_base)
    dated = [stamp for stamp in pts if stamp is not None]
    ascending = len(dated) == len(pts) and all(a < b for a, b in pairwise(dated))
    by_count = track.by_count or not ascending
    if by_count:
        kept = np.arange(len(pts), dtype=np.int64)
        times = _stretched(track.frame_times_s, len(pts), track.frame_s)
    else:
        kept = np.array(dated, dtype=np.int64)
        times = np.asarray(kept * base - track.zero_s, np.float64)
    warnings = list(track.warnings)
    if failed or len(kept) < len(track.frame_pts):
        warnings.append(f"damaged: {len(kept)} of {len(track.frame_pts)} frames could be decoded")
    return replace(track, frame_pts=kept, frame_times_s=times, by_count=by_count, warnings=warnings)


def read_frames(
    track: Track,
    wanted: Iterable[int],
    convert: Callable[[Any, float], NDArray[np.uint8]],
    *,
    seek: bool = True,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode sequentially and convert the wanted frames; parts far ahead are sought.

    Args:
        track: the file's table.
        wanted: indices into the table.
        convert: makes an array of a decoded frame and the width of its pixels relative to
            their height; called for wanted frames only.
        seek: go to parts that lie far apart, instead of decoding what is between.

    Yields:
        Index and array, once for each wanted frame that can be decoded.
    """
    order = sorted(set(wanted))
    if not order:
        return
    place = {int(track.frame_pts[index]): index for index in order}
    missing: list[int] = []
    sought = broken = False
    with open_media(track.path) as container:
        stream = video_stream(container)
        with_threads(stream)
        aspect = float(stream.sample_aspect_ratio or 1)
        patience = 0 if track.by_count else round(REORDERED_S / stream.time_base)
        seek = seek and not track.by_count
        for run in _runs(order, track.frame_times_s) if seek else [order]:
            if seek and track.frame_times_s[run[0]] > SEEK_AHEAD_S:
                sought = True
                go_to(container, stream, int(track.frame_pts[run[0]]) - patience)
            left = set(run)
            last = int(track.frame_pts[run[-1]]) + patience
            for stamp, frame in _stamped(container, stream, track, place, count_errors=not sought):
                index = place.get(stamp)
                # What follows a jump may lack the frames that it was predicted from.
                if index in left and not (sought and frame.is_corrupt):
                    left.discard(index)
                    broken |= frame.is_corrupt
                    yield index, convert(frame, aspect)
                if not left or stamp > last:
                    break
            missing += left
    if broken:
        track.warnings.append("damaged: there are frames with errors; they are used as they are")
    if sought and missing:  # an index that leads astray: decode what is between after all
        yield from read_frames(track, missing, convert, seek=False)


def _table(
    picture: Any, pts: list[int | None], dts: list[int | None], by_count: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the frames' keys and their times in the container's own time."""
    if picture is None or not pts:
        return np.zeros(0, np.int64), np.zeros(0)
    if not by_count:
        keys = np.array(sorted({stamp for stamp in pts if stamp is not None}), dtype=np.int64)
        return keys, np.asarray(keys * float(picture.time_base), np.float64)
    keys = np.arange(len(pts), dtype=np.int64)
    steps = sorted({stamp for stamp in dts if stamp is not None})
    if len(steps) == len(pts) and not _scattered(dts, picture):
        return keys, np.array(steps) * float(picture.time_base)
    start_s = _start(dts, picture) * float(picture.time_base)
    even = start_s + keys / float(picture.average_rate or DEFAULT_FPS)
    return keys, np.asarray(even, np.float64)


def _stretched(times: NDArray[np.float64], count: int, step_s: float) -> NDArray[np.float64]:
    """Return the first ``count`` times, continued where there are fewer."""
    last = float(times[-1]) if len(times) else -step_s
    more = last + step_s * np.arange(1, count - len(times) + 1)
    return np.concatenate([times[:count], more])


def _scattered(stamps: Sequence[int | None], picture: Any) -> bool:
    """Whether damaged timestamps spread frames over far more time than they can take."""
    dated = [stamp for stamp in stamps if stamp is not None]
    span_s = (max(dated) - min(dated)) * float(picture.time_base) if dated else 0.0
    likely_s = len(dated) / float(picture.average_rate or DEFAULT_FPS)
    return span_s > SCATTERED * likely_s + SCATTERED_S


def _start(stamps: Sequence[int | None], picture: Any) -> int:
    """Return the first timestamp that is near the others; damaged ones are far from them."""
    dated = np.array([stamp for stamp in stamps if stamp is not None], np.float64)
    if not len(dated):
        return int(picture.start_time or 0)
    likely_s = len(dated) / float(picture.average_rate or DEFAULT_FPS)
    reach = max(likely_s, SCATTERED_S) / float(picture.time_base)
    return int(dated[np.abs(dated - np.median(dated)) <= reach].min(initial=np.median(dated)))


def _sound_span(
    stream: Any | None, starts: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return start and end of the sound: what the container says, within what its packets hold."""
    if stream is None or not len(starts):
        return None
    likely_s = float((ends - starts).sum())
    if ends.max() - starts.min() > SCATTERED * likely_s + SCATTERED_S:  # damaged timestamps
        order = np.argsort(starts)
        starts, ends = starts[order], ends[order]
        gaps = np.flatnonzero(np.diff(starts) > max(likely_s, SCATTERED_S)) + 1
        parts = np.split(np.arange(len(starts)), gaps)
        least = max(map(len, parts)) * LEAST_PART
        kept = np.concatenate([part for part in parts if len(part) >= least])
        starts, ends = starts[kept], ends[kept]
    begin, end = float(starts.min()), float(ends.max())
    if stream.start_time is not None:
        begin = max(begin, float(stream.start_time * stream.time_base))
    if stream.duration:  # without what a codec adds to fill its last block; more is a wrong guess
        stated = begin + float(stream.duration * stream.time_base)
        end = stated if end - PADDING_S < stated < end else end
    return (begin, end) if end > begin else None


def _cut_off(
    container: Any, picture: Any, streams: Sequence[Any], num_packets: int, found: Track
) -> str | None:
    """Say how much of a file is missing: what its header promises and its packets do not hold."""
    form = container.format.name
    if picture is not None and form.startswith("mov"):
        # Frames that an edit hides are promised too, but shorten the stream.
        stated_s = float((picture.duration or 0) * picture.time_base)
        shown_s = float(np.ptp(found.frame_times_s)) if len(found.frame_times_s) else 0.0
        if num_packets < picture.frames and shown_s < stated_s - 2 * found.frame_s:
            return f"truncated: {num_packets} of {picture.frames} frames are in the file"
    stated_s = (container.duration or 0) / av.time_base
    if stated_s and form == "matroska,webm":  # there, the end; elsewhere, the length
        stated_s -= max(0.0, (container.start_time or 0) / av.time_base)
    if form == "wav":
        stated_s *= promised_bytes(found.path)
    if form == "avi" and picture is not None:  # its header's length, not what is in the file
        stated_s = max(stated_s, float(picture.frames * picture.time_base))
    states = form in STATES_ITS_LENGTH or (form == "mp3" and counts_its_frames(found.path))
    whole = states and len(streams) == len(container.streams)
    if whole and found.duration_s < stated_s - max(0.3, 0.02 * stated_s):
        return f"truncated: {found.duration_s:.1f} of {stated_s:.1f} s are in the file"
    return None


def _stamped(
    container: Any, stream: Any, track: Track, wanted: Container[int], *, count_errors: bool
) -> Iterator[tuple[int, Any]]:
    """Yield decoded frames with the key that the track's table has for them."""
    failed = count = 0
    marked = not track.by_count and stream.codec_context.name in MARKS_REFERENCES
    # Only what is known as a frame of its own is left out: a packet may be half of one.
    needless = {key for key in track.frame_pts.tolist() if marked and key not in wanted}
    try:
        for packet in packets(container, [stream], []):
            stream.codec_context.skip_frame = "NONREF" if packet.pts in needless else "DEFAULT"
            frames, errors = decoded(packet)
            failed += errors
            for frame in frames:
                if track.by_count or frame.pts is not None:
                    yield (count if track.by_count else frame.pts), frame
                count += 1
    finally:  # who has all wanted frames stops early
        if failed and count_errors:
            track.warnings.append(f"damaged: {failed} packets of the picture are broken")


def _runs(order: Sequence[int], times: NDArray[np.float64]) -> list[list[int]]:
    """Divide wanted frames into runs without a gap that is worth a seek."""
    runs: list[list[int]] = []
    for index in order:
        if runs and times[index] - times[runs[-1][-1]] <= SEEK_AHEAD_S:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
