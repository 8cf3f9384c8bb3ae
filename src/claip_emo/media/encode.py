"""Pictures and the sound of a source become a video, a picture at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Colorspace

from claip_emo.media.container import MediaError, audio_stream, open_media, packets
from claip_emo.media.picture import Frame
from claip_emo.media.recording import hear
from claip_emo.media.source import Source

CLOCK = Fraction(1, 60_000)  # MPEG-4 has none finer than 1 / 65535
# Frames last as long as they are told to, the last too: mp4 takes the length of the video from it,
# which must not be a reordered one.
EXACT = {"flags": "+frame_duration", "bf": "0"}
CODECS = (
    ("libx264", {"crf": "20", "preset": "veryfast"} | EXACT),
    ("mpeg4", {"qmin": "2", "qmax": "4"} | EXACT),
)
COPIED = {"aac", "mp3", "ac3", "eac3", "alac", "opus"}  # what players take from an mp4
NOT_COPIED = {"mov": {"opus"}, "ipod": {"mp3", "eac3", "opus"}}  # by the format; ipod is .m4v
SOUND_HZ = 48_000
SOUND_FRAME = 1024  # samples
BT709 = 1  # of FFmpeg's numbers of colour spaces, primaries and transfers


def encode(
    path: Path,
    pictures: Iterable[tuple[float, Frame]],
    source: Source,
    end_s: float,
    *,
    comment: str = "",
) -> None:
    """Write a video with the sound of a source.

    Sound is copied where its codec may lie in an mp4, and encoded as mono AAC elsewhere.

    Args:
        path: of the video; what kind it is follows from its suffix.
        pictures: when each is shown, ascending, and (height, width, 3), uint8 RGB; of one size.
        source: whose sound is taken, on the same clock.
        end_s: when the last picture ends.
        comment: that players show of the file.

    Raises:
        MediaError: if it cannot be written, or there is no picture.
    """
    shown = iter(pictures)
    first = next(shown, None)
    if first is None:
        raise MediaError(f"{source.path}: there is no picture in it to draw on.")
    try:
        with ExitStack() as stack, av.open(str(path), "w") as container:
            container.metadata["comment"] = comment
            video = _video_stream(container, first[1])
            sound = _Sound(container, source, stack)
            for frame in _frames(first, shown, end_s):
                sound.write(video.encode(frame))
            sound.write(video.encode())
            sound.finish()
    except FFmpegError as error:
        raise MediaError(f"{path}: the video cannot be written ({error.strerror}).") from error


def _video_stream(container: Any, picture: Frame) -> Any:
    """Add a stream for pictures of this size, made even as codecs want it."""
    codec, options = next(one for one in CODECS if one[0] in av.codecs_available)
    stream = container.add_stream(codec, options=options)
    stream.height, stream.width = (side + side % 2 for side in picture.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = CLOCK
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    return stream


def _frames(
    first: tuple[float, Frame], others: Iterator[tuple[float, Frame]], end_s: float
) -> Iterator[Any]:
    """Turn pictures into frames that last until the next."""
    for (time_s, picture), (next_s, _) in pairwise(_chained(first, others, end_s)):
        height, width = picture.shape[:2]
        even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, threads=1)
        frame.time_base, frame.pts = CLOCK, round(time_s / CLOCK)
        frame.duration = max(1, round(next_s / CLOCK) - frame.pts)
        yield frame


def _chained(
    first: tuple[float, Frame], others: Iterator[tuple[float, Frame]], end_s: float
) -> Iterator[tuple[float, Frame]]:
    yield first
    yield from others
    yield end_s, first[1]


class _Sound:
    """Writes packets of sound between those of the picture, so that none waits in memory."""

    def __init__(self, container: Any, source: Source, stack: ExitStack):
        self._container = container
        self._packets = iter(_sound_packets(container, source, stack))
        self._next = next(self._packets, None)

    def write(self, shown: Iterable[Any]) -> None:
        """Write packets of the picture, and before each the sound that comes earlier."""
        for packet in shown:
            self._until(float((packet.dts if packet.dts is not None else 0) * packet.time_base))
            self._container.mux(packet)

    def finish(self) -> None:
        """Write the rest."""
        self._until(np.inf)

    def _until(self, time_s: float) -> None:
        while self._next is not None and float(self._next.dts * self._next.time_base) <= time_s:
            self._container.mux(self._next)
            self._next = next(self._packets, None)


def _sound_packets(container: Any, source: Source, stack: ExitStack) -> Iterator[Any]:
    """Return the packets of sound, after their stream was added."""
    track = source.sound_track
    if track is None or track.sound_s is None:
        return iter(())
    opened = stack.enter_context(open_media(track.path))
    stream = audio_stream(opened)
    copied = COPIED - NOT_COPIED.get(container.format.name, set())
    if stream.codec_context.name.removesuffix("float") in copied:
        return _copies(opened, stream, container.add_stream_from_template(stream), track.zero_s)
    encoder = container.add_stream("aac", rate=SOUND_HZ, layout="mono")
    return _encoded(source, encoder)


def _copies(opened: Any, stream: Any, copied: Any, zero_s: float) -> Iterator[Any]:
    """Yield packets as they are, on the source's clock."""
    last = None
    for packet in packets(opened, [stream], []):
        if packet.size == 0 or packet.dts is None or packet.pts is None or packet.is_discard:
            continue
        shift = round(zero_s / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        if last is not None and packet.dts <= last:  # damaged timestamps stop the writer
            continue
        last, packet.stream = packet.dts, copied
        yield packet


def _encoded(source: Source, encoder: Any) -> Iterator[Any]:
    """Yield the sound as mono AAC."""
    begin_s = source.sound_s[0] if source.sound_s is not None else 0.0
    written = 0
    for section in hear(source, SOUND_HZ):
        for start in range(0, len(section), SOUND_FRAME):
            samples = section[None, start : start + SOUND_FRAME]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.rate, frame.time_base = SOUND_HZ, Fraction(1, SOUND_HZ)
            frame.pts = round(begin_s * SOUND_HZ) + written
            written += samples.shape[1]
            yield from encoder.encode(frame)
    yield from encoder.encode()
