"""What the made trees are made of: clips and frames as real files, whole or broken."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from claip_emo.corpora.synthetic import make_clip
from claip_emo.media.source import open_source

SIZE = {"size_px": 32, "fps": 8, "duration_s": 0.5}
WAV_HZ = 16_000  # as CREMA-D and the lists have it
JUNK = b"\x00\x00\x00\x18 no media " * 40
DRAWN = {
    "calm": "neutral",
    "contempt": "disgust",
    "anxiety": "fear",
    "helplessness": "sadness",
    "disappointment": "sadness",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One clip: its id, its class, who is drawn, and its number among those of its class."""

    id: str
    label: str
    person: int
    take: int


@dataclass(frozen=True, slots=True)
class Tree:
    root: Path
    form: str
    clips: Sequence[Planned]
    folds: Sequence[int]
    seed: int
    happens: dict[str, frozenset[str]]

    def is_(self, what: str, clip: Planned) -> bool:
        return clip.id in self.happens[what]


def bad_id(name: str, clip_id: str) -> str:
    """Return the id that a clip with an unknown label has where the label is a part of it."""
    gap, code = {"crema_d": ("_", "XYZ"), "ravdess": ("-", "09")}[name]
    cells = clip_id.split(gap)
    cells[2] = code
    return gap.join(cells)


def write_clip(tree: Tree, clip: Planned, path: Path, *, keep: bool = False) -> None:
    """Make a clip; ``keep`` leaves the damage to the caller."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = clip.label.partition("_")[0]
    make_clip(
        path,
        person=clip.person,
        emotion=DRAWN.get(first, first),
        take=clip.take + sum(clip.label.encode()),  # classes drawn alike are not the same clips
        seed=tree.seed,
        with_audio=not tree.is_("silent", clip),
        **SIZE,
    )
    if not keep:
        damage(tree, clip, path)


def damage(tree: Tree, clip: Planned, path: Path) -> None:
    if tree.is_("broken", clip):
        path.write_bytes(JUNK)
    if tree.is_("missing", clip):
        path.unlink()


def write_frames(tree: Tree, clip: Planned, folder: Path, sound: Path) -> None:
    """Write a clip as a folder of frames and a sound beside it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if tree.is_("missing", clip):
        return
    made = folder.parent / f".{clip.id}.mp4"
    write_clip(tree, clip, made, keep=True)
    folder.mkdir()
    with av.open(str(made)) as container:
        for n, frame in enumerate(container.decode(video=0), start=1):
            bgr = np.ascontiguousarray(frame.to_ndarray(format="bgr24"))
            image = cv2.imencode(".jpg", bgr)[1].tobytes()
            write_file(
                folder / f"{clip.id}_{n:05d}.jpg", JUNK if tree.is_("broken", clip) else image
            )
    if not tree.is_("silent", clip):
        write_sound(made, sound)
        if tree.is_("broken", clip):
            sound.write_bytes(JUNK)
    made.unlink()


def write_sound(video: Path, path: Path) -> None:
    """Write the sound of a clip as 16-bit PCM."""
    source = open_source(video, video=False)
    assert source.sound_s is not None
    samples = source.sound([source.sound_s], WAV_HZ)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(WAV_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def write_without_sound(video: Path, path: Path) -> None:
    """Copy the picture of a clip, packet by packet."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def write_file(path: Path, content: str | bytes, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
