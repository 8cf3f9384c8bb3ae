"""Made clips for the benchmarks: folders of JPEG frames beside a wav, and 720p files."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from claip_emo.corpora.base import Corpus, Sample
from claip_emo.corpora.synthetic import make_clip
from claip_emo.data.cache import ClipCache
from claip_emo.data.dataset import ClipDataset
from claip_emo.data.prepare import prepare
from claip_emo.labels import SEVEN
from claip_emo.media.clip import ClipSpec

FPS = 25
JPEG_QUALITY = 95
ONE_VIEW = (24, 64)  # frames of clips whose two test views are equal, as half of DFEW's are
TWO_VIEWS = (65, 200)


def lengths(count: int) -> list[int]:
    """Return frames per clip: the first half have one distinct view, the others two.

    Each half is spread evenly over its range.
    """
    few = [round(n) for n in _middles(*ONE_VIEW, (count + 1) // 2)]
    return few + [round(n) for n in _middles(*TWO_VIEWS, count // 2)]


def _middles(low: int, high: int, count: int) -> np.ndarray:
    """Return the middles of equal parts of a range."""
    return low + (high - low) * (np.arange(count) + 0.5) / count


def dfew_like(folder: Path, frames: list[int], size_px: int = 224) -> Corpus:
    """Make clips as DFEW is handed on: a folder of JPEG frames and a wav each.

    Args:
        folder: where they are written.
        frames: number of frames of each clip.
        size_px: side of the square frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, count in enumerate(frames):
        film = folder / f"{index:05d}.mp4"
        make_clip(
            film, person=index, emotion=SEVEN[index % len(SEVEN)],
            size_px=size_px, fps=FPS, duration_s=count / FPS,
        )  # fmt: skip
        _take_apart(film)
        film.unlink()
    return corpus_in(folder)


def corpus_in(folder: Path) -> Corpus:
    """Return the clips that ``dfew_like`` wrote into a folder."""
    sounds = sorted(folder.glob("*.wav"))
    samples = [
        Sample(sound.stem, sound.with_suffix(""), SEVEN[index % len(SEVEN)], audio_path=sound)
        for index, sound in enumerate(sounds)
    ]
    return Corpus("made", SEVEN, tuple(samples))


def _take_apart(film: Path) -> None:
    """Write the frames of a file as JPEG into a folder and its sound as wav beside it."""
    import av

    folder = film.with_suffix("")
    folder.mkdir()
    with av.open(str(film)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
            picture.save(folder / f"{index:05d}.jpg", quality=JPEG_QUALITY)
    with av.open(str(film)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    with wave.open(str(film.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())


def prepared(corpus: Corpus, spec: ClipSpec, folder: Path) -> ClipDataset:
    """Return the clips of a corpus, read from a cache in a folder; what is not there is made."""
    cache = ClipCache(folder, spec, None)
    prepare(cache, corpus.samples)
    return ClipDataset(corpus, spec, None, cache=cache)


def film_720p(path: Path, seconds: float = 10.0, fps: int = 30) -> Path:
    """Make a 1280 x 720 file (h264, AAC) of a drawn face in the middle of a moving pattern."""
    import av

    small = make_clip(
        path.with_name(f"small-{path.name}"), person=0, emotion="happiness",
        size_px=240, fps=fps, duration_s=seconds,
    )  # fmt: skip
    ground = np.random.default_rng(0).integers(40, 200, (45, 160, 3), np.uint8)
    with av.open(str(small)) as source, av.open(str(path), "w") as target:
        picture = target.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 1280, 720, "yuv420p"
        sound = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
            if packet.stream.type == "audio" and packet.dts is not None:
                packet.stream = sound
                target.mux(packet)
                continue
            for frame in packet.decode():
                shown = np.roll(ground, frame.pts * fps // 2048 % 160, axis=1)
                shown = shown.repeat(16, axis=0).repeat(8, axis=1)
                face = frame.to_ndarray(format="rgb24")
                shown[:, 280:1000] = face.repeat(3, axis=0).repeat(3, axis=1)
                whole = av.VideoFrame.from_ndarray(shown, format="rgb24")
                whole.pts, whole.time_base = round(frame.time * fps), Fraction(1, fps)
                target.mux(picture.encode(whole))
        target.mux(picture.encode())
    small.unlink()
    return path


def repeat_film(source: Path, target: Path, times: int) -> Path:
    """Write a file that shows and plays another one over and over, without encoding anew."""
    import av

    with av.open(str(target), "w") as whole:
        streams: dict[int, av.stream.Stream] = {}
        for turn in range(times):
            with av.open(str(source)) as part:
                length = Fraction(part.duration, av.time_base) + Fraction(1, 10)  # no overlap
                for stream in part.streams if not streams else ():
                    streams[stream.index] = whole.add_stream_from_template(stream)
                for packet in part.demux():
                    if packet.dts is None:
                        continue
                    shift = int(turn * length / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream_index]
                    whole.mux(packet)
    return target
