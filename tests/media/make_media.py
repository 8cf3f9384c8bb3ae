"""Media for tests: a grey ramp whose brightness tells the frame, and sounds at known times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 3  # of brightness, from one frame to the next
DARKEST = 20

VIDEO_CODEC = {".avi": "mpeg4", ".flv": "flv", ".webm": "libvpx-vp9"}
AUDIO_CODEC = {
    ".webm": "libopus",
    ".avi": "libmp3lame",
    ".flv": "libmp3lame",
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
}


def ramp(count: int, height: int = 64, width: int = 64) -> np.ndarray:
    """Frames (count, height, width, 3): frame i has the brightness DARKEST + STEP * i."""
    grey = (DARKEST + STEP * np.arange(count)).clip(0, 255).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def index_of(frame: np.ndarray) -> int:
    """Which frame of the ramp this is."""
    return round((float(frame.mean()) - DARKEST) / STEP)


def tone(seconds: float, rate: int = 48_000, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def clicks(seconds: float, at_s: list[float], rate: int = 48_000) -> np.ndarray:
    """Short bursts of 2 kHz at the given times, silence elsewhere."""
    sound = np.zeros(round(seconds * rate), np.float32)
    burst = tone(0.01, rate, 2000.0) * 1.6
    for time in at_s:
        start = round(time * rate)
        sound[start : start + len(burst)] += burst[: len(sound) - start]
    return sound


def click_times(sound: np.ndarray, rate: int = 48_000) -> list[float]:
    """When bursts begin, in seconds."""
    loud = np.abs(sound) > 0.25
    starts = [i for i in np.flatnonzero(loud) if not loud[max(0, i - rate // 10) : i].any()]
    return [float(i) / rate for i in starts]


def write(
    path: Path,
    frames: np.ndarray | None = None,
    sound: np.ndarray | None = None,
    *,
    fps: float = 25,
    times_s: list[float] | None = None,
    rate: int = 48_000,
    layout: str = "mono",
    codec: str | None = None,
    sound_start_s: float = 0.0,
    rotation: float | None = None,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    gop: int = 12,
) -> Path:
    """Encode frames and sound into a container by its ending."""
    suffix = path.suffix.lower()
    with av.open(str(path), "w", options=options or {}) as container:
        picture = voice = None
        if frames is not None:
            name = codec or VIDEO_CODEC.get(suffix, "libx264")
            quality = {"crf": "4"} if name in ("libx264", "libvpx-vp9") else {}
            picture = container.add_stream(
                name, rate=Fraction(fps).limit_denominator(1001), options=quality | (encoder or {})
            )
            picture.height, picture.width = frames.shape[1:3]
            picture.pix_fmt = {"ffv1": "yuv444p", "png": "rgb24", "rawvideo": "rgb24"}.get(
                name, "yuv420p" if not (frames.shape[1] % 2 or frames.shape[2] % 2) else "yuv444p"
            )
            picture.gop_size = gop
            if name in ("mpeg4", "flv"):
                picture.bit_rate = 2_000_000
            if times_s is not None:
                picture.codec_context.time_base = Fraction(1, 1000)
            if rotation is not None:
                picture.set_display_rotation(rotation)
        if sound is not None:
            voice = container.add_stream(AUDIO_CODEC.get(suffix, "aac"), rate=rate, layout=layout)
        if picture is not None:
            for index, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                if times_s is not None:
                    frame.pts, frame.time_base = round(times_s[index] * 1000), Fraction(1, 1000)
                else:
                    frame.pts = index
                    frame.time_base = 1 / Fraction(fps).limit_denominator(1001)
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
        if voice is not None:
            channels = len(av.AudioLayout(layout).channels)
            resampler = av.AudioResampler(
                format=voice.codec_context.format,
                layout=layout,
                rate=rate,
                frame_size=voice.codec_context.frame_size or 1024,
            )
            data = np.broadcast_to(sound, (channels, len(sound)))
            whole = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(data), format="fltp", layout=layout
            )
            whole.rate, whole.pts = rate, round(sound_start_s * rate)
            whole.time_base = Fraction(1, rate)
            for piece in [*resampler.resample(whole), *resampler.resample(None)]:
                container.mux(voice.encode(piece))
            container.mux(voice.encode())
    return path
