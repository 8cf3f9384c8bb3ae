"""Made clips: real mp4 files (h264 and AAC) of drawn faces beside synthetic voices.

Some emotions look alike and others sound alike, so that only both together solve the task: a
perfect reader of either alone is right in 5 of 7 classes and guesses in the others. For the demo,
for tests, and as stand-ins for corpora that cannot be had.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from claip_emo.corpora.base import OnProgress
from claip_emo.corpora.synthetic_face import EXPRESSIONS, Person, draw_frames
from claip_emo.corpora.synthetic_voice import MANNERS, RATE_HZ, Phrasing, Voice, speak
from claip_emo.labels import SEVEN
from claip_emo.whole_files import write_text, written

TABLE = "clips.csv"
SETTINGS = "clips.json"
DRAWING = 2  # of faces and voices; raise it when they change, so that older clips are made anew
# With `veryfast`, x264 encoded the same frames differently in a third of 990 trials, on one thread
# too; without lookahead and B-frames in none. The same seed must make the same clip.
H264 = {"preset": "superfast", "bf": "0", "rc-lookahead": "0", "crf": "20", "threads": "1"}
AAC = {"aac_coder": "fast"}  # the default coder takes longer than all the rest of a clip


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

    Raises:
        LabelError: for an emotion that is none of the seven.
        ValueError: for a size that h264 cannot hold, or a clip without picture and sound.
    """
    if not (with_video or with_audio):
        raise ValueError("A clip needs a picture or sound.")
    _check(size_px, fps, duration_s)
    who = np.random.default_rng((seed, person))
    face, voice = Person.drawn(who), Voice.drawn(who)
    # Face and voice have generators of their own: neither tells anything of the other's draws.
    key = (seed, person, SEVEN.index_of(emotion), take)
    phrasing = Phrasing.drawn(np.random.default_rng((*key, 3)), duration_s)
    sound = speak(voice, emotion, np.random.default_rng((*key, 1)), duration_s, phrasing)
    count = max(1, round(duration_s * fps))
    frames = None
    if with_video:
        frames = draw_frames(
            face,
            emotion,
            np.random.default_rng((*key, 2)),
            count=count,
            size_px=size_px,
            mouth=phrasing.mouth(count, duration_s),
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
    progress: OnProgress | None = None,
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
        processes: processes that make clips; 1 makes them in this one.
        progress: told how many clips are made of how many.

    Raises:
        ValueError: if no people would be left to train on, or for a size that h264 cannot hold.
    """
    _check(size_px, fps, duration_s)
    if people - test_people - validation_people < 1:
        raise ValueError("Nobody is left to train on: more people, or fewer to test, are needed.")
    settings = {
        "drawing": DRAWING,
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
    clips = directory / "clips"
    if _stored(stored) != settings:
        table.unlink(missing_ok=True)
        shutil.rmtree(clips, ignore_errors=True)  # of other settings, or not known of which
    plans = [
        ClipPlan(person, emotion, take, seed, size_px, fps, duration_s)
        for person in range(people)
        for emotion in SEVEN
        for take in range(clips_per_emotion)
    ]
    missing = [plan for plan in plans if not (clips / plan.name).is_file()]
    if table.is_file() and not missing:
        return table
    table.unlink(missing_ok=True)
    clips.mkdir(parents=True, exist_ok=True)
    write_text(stored, json.dumps(settings, indent=2) + "\n")
    done = len(plans) - len(missing)
    for number, _ in enumerate(_made(clips, missing, processes), start=done + 1):
        if progress is not None:
            progress(number, len(plans))
    train = people - test_people - validation_people
    write_text(table, _table(plans, train, people - test_people))
    return table


def _check(size_px: int, fps: int, duration_s: float) -> None:
    if size_px < 16 or size_px % 2:
        raise ValueError(f"size_px must be even and at least 16; it is {size_px}.")
    if fps < 1 or duration_s < 0.1:
        raise ValueError("A clip needs at least one frame per second and 0.1 s.")


def _stored(path: Path) -> object:
    """Return the settings of the clips that are there; None if they cannot be told."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _made(clips: Path, plans: list[ClipPlan], processes: int) -> Iterator[None]:
    make = partial(_make, clips)
    if processes <= 1 or len(plans) <= 1:
        yield from map(make, plans)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(make, plans, chunksize=8)


def _make(folder: Path, plan: ClipPlan) -> None:
    with written(folder / plan.name) as clip:
        make_clip(clip, **asdict(plan))


def _table(plans: list[ClipPlan], train: int, not_test: int) -> str:
    """Return the CSV; its last columns name what a clip may be taken for by face or voice alone."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = ("path", "label", "split", "speaker", "face_looks_like", "voice_sounds_like")
    writer.writerow(columns)
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
    return text.getvalue()


def _write(path: Path, frames: np.ndarray | None, sound: np.ndarray | None, fps: int) -> None:
    """Encode frames as h264 and sound as AAC."""
    with av.open(str(path), "w") as container:
        picture = None
        if frames is not None:
            picture = container.add_stream("libx264", rate=fps, options=H264)
            picture.height, picture.width = frames.shape[1:3]
            picture.pix_fmt = "yuv420p"
        voice = None
        if sound is not None:
            voice = container.add_stream("aac", rate=RATE_HZ, layout="mono", options=AAC)
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
