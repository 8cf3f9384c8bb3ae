"""Constructed clips: real faces beside real voices of the same emotion, which never met.

A table takes the clips that are there already and, beside them, faces that people voted on with an
acted voice each. Different people, no lip movement: what is scored on them is called "constructed
pairs".
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np

from claip_emo.corpora.acted_voices import CONSTRUCTED, EMODB, emodb_rows, emodb_spoken
from claip_emo.corpora.base import Corpus, CorpusError, OnProgress
from claip_emo.corpora.table import read_table
from claip_emo.corpora.voted_faces import read_voted_faces
from claip_emo.labels import SEVEN
from claip_emo.pretrain_recipe import SELECT_SPEAKERS, TEST_SPEAKERS
from claip_emo.whole_files import write_text, written

HEADER = ("path", "label", "audio", "speaker", "split")
AGREED = 0.6  # share of the votes among the seven classes
Voice = tuple[str, Path]  # speaker, file
Row = tuple[str, str, str, str, str]


def write_pairs(
    root: Path,
    folder: Path,
    *,
    faces_per_class: int,
    select_speakers: Collection[str] = SELECT_SPEAKERS,
    test_speakers: Collection[str] = TEST_SPEAKERS,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Path:
    """Write faces, voices and the table that pairs them, for ``corpora.table``.

    The constructed clips keep their speakers: who chooses is ``validation``, who tests ``test``.
    Faces of the part ``train``, at most so many per class, each once, are added to ``train`` beside
    a voice of its speakers or of EmoDB.

    Args:
        root: folder of ``constructed/clips.csv``, the faces and their votes, and, if it is there,
            ``voices_emodb.parquet``.
        folder: where ``faces/``, ``voices/`` and ``pairs.csv`` are written.
        faces_per_class: at most so many faces of a class on which at least 60 % agree.
        select_speakers: speakers of the part ``validation``.
        test_speakers: speakers of the part ``test``.
        seed: of the draws.
        progress: told how many faces are written of how many.

    Returns:
        The table, ``folder/pairs.csv``.

    Raises:
        CorpusError: if something is missing or cannot be read, or another table stands in the way.
    """
    table = folder / "pairs.csv"
    if table.exists() and not table.read_text("utf-8", "replace").startswith(",".join(HEADER)):
        raise CorpusError([f"{table} is there already and no table of pairs; name another folder."])
    clips = read_table(root / CONSTRUCTED, labels=SEVEN)
    if any("face" not in sample.extra for sample in clips):
        raise CorpusError([f"{root / CONSTRUCTED} has no column face: which faces its clips show."])
    rng = np.random.default_rng((seed, faces_per_class))
    parts = {**dict.fromkeys(select_speakers, "validation"), **dict.fromkeys(test_speakers, "test")}
    if lacking := set(parts) - {sample.speaker for sample in clips}:
        raise CorpusError([f"{root / CONSTRUCTED} has no clip of {', '.join(sorted(lacking))}."])
    shown = {sample.extra["face"] for sample in clips}
    folder.mkdir(parents=True, exist_ok=True)
    voices = _voices(clips, set(parts))
    for label, voice in _write_emodb(root / EMODB, folder / "voices"):
        voices[label].append(voice)
    rows: list[Row] = [
        (_relative(sample.path, folder), sample.label, "", sample.speaker or "",
         parts.get(sample.speaker or "", "train"))
        for sample in clips
    ]  # fmt: skip
    for face, label in _write_faces(root, folder / "faces", faces_per_class, shown, rng, progress):
        speaker, voice_file = voices[label][int(rng.integers(len(voices[label])))]
        rows.append(
            (_relative(face, folder), label, _relative(voice_file, folder), speaker, "train")
        )
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
    write_text(table, text.getvalue())
    return table


def _voices(clips: Corpus, apart: Collection[str]) -> dict[str, list[Voice]]:
    """Return the voices of each class that may be trained on."""
    voices: dict[str, list[Voice]] = {label: [] for label in SEVEN}
    for sample in clips:
        if sample.speaker not in apart:
            voice = (sample.speaker or "", sample.audio_path or sample.path)
            voices[sample.label].append(voice)
    if lacking := [label for label, found in voices.items() if not found]:
        raise CorpusError([f"There is no voice of {', '.join(lacking)} to train on."])
    return voices


def _write_emodb(file: Path, folder: Path) -> list[tuple[str, Voice]]:
    """Write the utterances of the seven classes as files; return their classes and speakers."""
    if not file.is_file():
        return []
    rows = emodb_rows(file)
    problems, spoken = [], []
    for row in rows:
        try:
            spoken.append(emodb_spoken(row))
            if not row["audio"]:
                problems.append(f"{row['name']}: there is no audio.")
        except CorpusError as error:
            problems.append(f"{row['name']}: {error}")
    if problems:
        raise CorpusError(problems, where=str(file))
    folder.mkdir(exist_ok=True)
    found = []
    for row, (name, speaker, manner) in zip(rows, spoken, strict=True):
        if manner in SEVEN:
            path = folder / f"{name}{Path(row['name']).suffix}"
            with written(path) as partial:
                partial.write_bytes(row["audio"])
            found.append((manner, (speaker, path)))
    return found


def _write_faces(
    root: Path,
    folder: Path,
    per_class: int,
    shown: Collection[str],
    rng: np.random.Generator,
    progress: OnProgress | None,
) -> list[tuple[Path, str]]:
    """Draw faces that no clip shows and write them; return each with its class."""
    faces = read_voted_faces(root, "train")
    agreed = faces.targets.max(axis=1) >= AGREED
    new = np.array([name not in shown for name in faces.names])
    drawn: list[int] = []
    for label in range(len(SEVEN)):
        known = np.flatnonzero(agreed & new & (faces.majority == label))
        drawn += rng.permutation(known)[:per_class].tolist()
    folder.mkdir(exist_ok=True)
    found = []
    for count, place in enumerate(drawn, 1):
        path = folder / f"{place:05d}.png"  # a name may stand for two faces
        with written(path) as partial:
            partial.write_bytes(cv2.imencode(".png", faces.pixels[place])[1].tobytes())
        found.append((path, SEVEN[faces.majority[place]]))
        if progress is not None:
            progress(count, len(drawn))
    return found


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a table in a folder names it; ``..`` of a link is where the link leads."""
    return Path(os.path.relpath(path.parent.resolve() / path.name, folder.resolve())).as_posix()
