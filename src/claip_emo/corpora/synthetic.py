"""Made clips: real mp4 files (h264 and AAC) of drawn faces beside synthetic voices.

Some emotions look alike and others sound alike, so that only both together solve the task: a
perfect reader of either alone is right in 5 of 7 classes and guesses in the others. For the demo,
for tests, and as stand-ins for corpora that cannot be had.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from claip_emo.corpora.synthetic_face import EXPRESSIONS, Person, draw_frames
from claip_emo.corpora.synthetic_voice import MANNERS, RATE_HZ, Voice, loudness_per_frame, speak
from claip_emo.labels import SEVEN

TABLE = "clips.csv"
SETTINGS = "clips.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """One clip to be made."""

    person: int
    emotion: str
    take: int
    seed: int
    size_px: int
    fps: int
    duration_s: float

    @property
    def name(self) -> str:
        """File name."""
        return f"person{self.person:02d}_{self.emotion}_{self.take}.mp4"


def make_clip(
    path: Path,
    *,
    person: int,
    emotion: str,
    take: int = 0,
    seed: int = 0,
    size_px: int = 96,
    fps: int = 12,
    duration_s: float = 2.0,
    with_video: bool = True,
    with_audio: bool = True,
) -> Path:
    """Make one clip as a media file.

    Args:
        path: where; the ending decides the container.
        person: number of the person; the same person has the same face and voice in every clip.
        emotion: one of ``labels.SEVEN``.
        take: number of the clip among those of this person and emotion.
        seed: of the whole corpus.
        size_px: side of the square frames.
        fps: frames per second.
        duration_s: length.
        with_video: whether it has a picture.
        with_audio: whether it has sound.
    """
    who = np.random.default_rng((seed, person))
    face, voice = Person.drawn(who), Voice.drawn(who)
    # Face and voice have generators of their own: neither tells anything of the other's draws.
    key = (seed, person, SEVEN.index_of(emotion), take)
    sound = speak(voice, emotion, np.random.default_rng((*key, 1)), duration_s)
    count = max(1, round(duration_s * fps))
    frames = None
    if with_video:
        frames = draw_frames(
            face,
            emotion,
            np.random.default_rng((*key, 2)),
            count=count,
            size_px=size_px,
            loudness=loudness_per_frame(sound, count),
        )
    _write(path, frames, sound if with_audio else None, fps)
    return path


def make_corpus(
    directory: Path,
    *,
    people: int = 16,
    clips_per_emotion: int = 4,
    test_people: int = 4,
    validation_people: int = 2,
    seed: int = 0,
    size_px: int = 96,
    fps: int = 12,
    duration_s: float = 2.0,
    processes: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Make a corpus and return its CSV; one that is complete already is returned at once.

    Args:
        directory: where ``clips/`` and ``clips.csv`` are written.
        people: number of drawn people; the last ones test, those before them validate.
        clips_per_emotion: clips per person and emotion.
        test_people: people of the test part.
        validation_people: people of the validation part.
        seed: of everything.
        size_px: side of the square frames.
        fps: frames per second.
        duration_s: length of a clip.
        processes: processes that make clips.
        progress: told how many clips are made of how many.

    Raises:
        ValueError: if no people would be left to train on.
    """
    if people - test_people - validation_people < 1:
        raise ValueError("Nobody is left to train on: more people, or fewer to test, are needed.")
    settings = {
        "people": people,
        "clips_per_emotion": clips_per_emotion,
        "test_people": test_people,
        "validation_people": validation_people,
        "seed": seed,
        "size_px": size_px,
        "fps": fps,
        "duration_s": duration_s,
    }
    table = directory / TABLE
    stored = directory / SETTINGS
    if table.is_file() and stored.is_file() and json.loads(stored.read_text()) == settings:
        return table
    table.unlink(missing_ok=True)
    clips = directory / "clips"
    if not stored.is_file() or json.loads(stored.read_text()) != settings:
        shutil.rmtree(clips, ignore_errors=True)  # of other settings, or not known of which
    clips.mkdir(parents=True, exist_ok=True)
    stored.write_text(json.dumps(settings, indent=2) + "\n")
    plans = [
        ClipPlan(person, emotion, take, seed, size_px, fps, duration_s)
        for person in range(people)
        for emotion in SEVEN
        for take in range(clips_per_emotion)
    ]
    missing = [plan for plan in plans if not (clips / plan.name).is_file()]
    make = partial(_make, clips)
    done = len(plans) - len(missing)
    with ProcessPoolExecutor(processes) as pool:
        for number, _ in enumerate(pool.map(make, missing, chunksize=8), start=done + 1):
            if progress is not None:
                progress(number, len(plans))
    _write_table(table, plans, people - test_people - validation_people, people - test_people)
    return table


def _make(folder: Path, plan: ClipPlan) -> None:
    """Make one clip under a temporary name and rename it: a file that is there is complete."""
    partial_path = folder / f".{plan.name}"
    make_clip(partial_path, **asdict(plan))
    partial_path.rename(folder / plan.name)


def _write_table(table: Path, plans: list[ClipPlan], train: int, not_test: int) -> None:
    partial_path = table.with_suffix(".partial")
    with partial_path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "speaker", "looks_like", "sounds_like"])
        for plan in plans:
            part = "train" if plan.person < train else "test"
            part = "validation" if train <= plan.person < not_test else part
            writer.writerow(
                [
                    f"clips/{plan.name}",
                    plan.emotion,
                    part,
                    f"person{plan.person:02d}",
                    " or ".join(e for e in SEVEN if EXPRESSIONS[e] == EXPRESSIONS[plan.emotion]),
                    " or ".join(e for e in SEVEN if MANNERS[e] == MANNERS[plan.emotion]),
                ]
            )
    partial_path.replace(table)


def _write(path: Path, frames: np.ndarray | None, sound: np.ndarray | None, fps: int) -> None:
    """Encode frames as h264 and sound as AAC."""
    with av.open(str(path), "w") as container:
        picture = None
        if frames is not None:
            options = {"preset": "veryfast", "crf": "20", "threads": "1"}
            picture = container.add_stream("libx264", rate=fps, options=options)
            picture.height, picture.width = frames.shape[1:3]
            picture.pix_fmt = "yuv420p"
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=RATE_HZ, layout="mono")
            voice.bit_rate = 64_000
        if picture is not None and frames is not None:
            for index, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(array, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
        if voice is not None and sound is not None:
            block = 1024
            for start in range(0, len(sound), block):
                piece = av.AudioFrame.from_ndarray(
                    sound[None, start : start + block], format="fltp", layout="mono"
                )
                piece.rate, piece.pts, piece.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
                container.mux(voice.encode(piece))
            container.mux(voice.encode())
