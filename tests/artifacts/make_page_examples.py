"""Make the clips that the page offers: python tests/artifacts/make_page_examples.py."""

from __future__ import annotations

import tempfile
import wave
from pathlib import Path

import av
import numpy as np

from claip_emo.corpora.synthetic import make_clip
from claip_emo.media.source import Source, open_source

OUT = Path(__file__).parents[2] / "src/claip_emo/serving/page_files/examples"
FPS, SECONDS, SIZE_PX, RATE_HZ = 25, 4, 240, 48_000


def source(folder: str, person: int, emotion: str) -> Source:
    path = Path(folder) / f"{person}.mp4"
    make_clip(path, person=person, emotion=emotion, size_px=SIZE_PX, fps=FPS, duration_s=SECONDS)
    return open_source(path)


def pictures(source: Source) -> list[np.ndarray]:
    return [picture for _, picture in source.frames(range(len(source.times_s)))]


def write(path: Path, frames: list[np.ndarray], sound: np.ndarray) -> None:
    """Encode small: a page offers it to whoever comes."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "30", "preset": "slow"})
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        voice = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        voice.bit_rate = 48_000
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        for start in range(0, len(sound), 1024):
            part = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            part.rate, part.pts = RATE_HZ, start
            container.mux(voice.encode(part))
        container.mux(voice.encode())


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        one, other = source(folder, 10, "happiness"), source(folder, 8, "surprise")
        sounds = [each.sound([each.sound_s], RATE_HZ)[0] for each in (one, other)]
        write(OUT / "happy.mp4", pictures(one), sounds[0])
        both = [np.hstack(pair) for pair in zip(pictures(one), pictures(other), strict=True)]
        write(OUT / "two-people.mp4", both, sounds[1])
    with wave.open(str(OUT / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ // 3)
        file.writeframes((sounds[0][::3] * 32767).astype(np.int16).tobytes())
    for path in sorted(OUT.iterdir()):
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
