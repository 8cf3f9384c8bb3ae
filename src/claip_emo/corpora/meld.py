"""MELD: 13,708 utterances of the series Friends, seven classes, one split (Poria et al., ACL 2019).

A clip shows the scene while somebody speaks: several faces, cuts, laughter of the audience. The
label is the speaker's emotion, who need not be in the picture.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from claip_emo.corpora.base import CorpusError, Sample
from claip_emo.corpora.folders import VIDEO_SUFFIXES, existing_folder, listed
from claip_emo.corpora.published import Counts, FoldMissingError, Listing, Place, PublishedCorpus
from claip_emo.labels import SEVEN, LabelSet

CODES = {
    "joy": "happiness",
    "sadness": "sadness",
    "neutral": "neutral",
    "anger": "anger",
    "surprise": "surprise",
    "disgust": "disgust",
    "fear": "fear",
}
"""The publisher's names and ours."""

PARTS = {"train": "train", "dev": "validation", "test": "test"}  # the publisher's name -> ours
FOLDERS = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test/output_repeated_splits_test", "test"),
}  # of the clips, as the archives unpack first
TABLES = ("{part}_sent_emo.csv", "{part}/{part}_sent_emo.csv", "data/MELD/{part}_sent_emo.csv")
NEEDED = ("Emotion", "Dialogue_ID", "Utterance_ID")
KEPT = {
    "Speaker": "speaker",
    "Sentiment": "sentiment",
    "Utterance": "utterance",
    "Season": "season",
    "Episode": "episode",
}  # the publisher's column -> name in `Sample.extra`
DROPPED = {
    "train/dia125_utt3": "the publisher's file is corrupt: its index is lacking",
    "dev/dia110_utt7": "the publisher's archive does not hold it",
}
"""Clips that cannot be had; both are neutral. The test part is whole."""

PUBLISHED = {
    "train": (1743, 683, 4710, 1109, 1205, 271, 268),
    "validation": (163, 111, 470, 153, 150, 22, 40),
    "test": (402, 208, 1256, 345, 281, 68, 50),
}  # utterances per class in the order of SEVEN, from the publisher's page
UNAVAILABLE = {"train": 1, "validation": 1, "test": 0}  # neutral ones, see DROPPED
LAYOUT = (
    "{train,dev,test}_sent_emo.csv; train_splits/dia0_utt0.mp4, dev_splits_complete/ and "
    "output_repeated_splits_test/, as the archives unpack, or folders train, dev and test."
)


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the three tables hold.

    Ids repeat from part to part, so the part is in them: ``train/dia0_utt0``. Speakers are kept in
    ``extra`` and not as the samples' speaker: the official split is not disjoint in them (the six
    leads are in every part), a validation part is given, and names such as All are no person.

    Raises:
        FoldMissingError: if none of the tables is there.
        CorpusError: if one of them is missing or lacks a column.
    """
    existing_folder(place.root, "The folder of MELD")
    base = place.root if place.clips is None else existing_folder(place.clips, "--clips")
    often: Counter[str] = Counter()
    samples: dict[str, Sample] = {}
    bad_labels: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for part, table in _tables(place.root).items():
        folder, clips = _clips(base, part)
        for row in _rows(table):
            stem = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            name = f"{part}/{stem}"
            often[name] += 1
            label = CODES.get(row["Emotion"].lower())
            if label is None:
                bad_labels[name] = row["Emotion"]
            elif name in DROPPED:
                dropped[name] = DROPPED[name]
            else:
                sample = Sample(
                    id=name,
                    path=clips.get(stem, folder / f"{stem}.mp4"),
                    label=label,
                    split=PARTS[part],
                    fold=fold if part == "test" else None,
                    extra={ours: row[theirs] for theirs, ours in KEPT.items() if row[theirs]},
                )
                samples.setdefault(name, sample)
    duplicates = tuple(name for name, count in often.items() if count > 1)
    return Listing(tuple(samples.values()), duplicates, bad_labels, dropped)


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return the published utterances per class, less the two whose clips cannot be had."""
    return {
        part: {
            name: count - (UNAVAILABLE[part] if name == "neutral" else 0)
            for name, count in zip(SEVEN, counts, strict=True)
        }
        for part, counts in PUBLISHED.items()
    }


def _labels(place: Place) -> LabelSet:
    return SEVEN


def _tables(root: Path) -> dict[str, Path]:
    """Return the table of each part."""
    tables = {}
    for part in PARTS:
        places = [root / table.format(part=part) for table in TABLES]
        if found := next((path for path in places if path.is_file()), None):
            tables[part] = found
    if not tables:
        raise FoldMissingError([f"{root}: there is no table of MELD. It should hold: {LAYOUT}"])
    if lacking := [part for part in PARTS if part not in tables]:
        names = ", ".join(TABLES[0].format(part=part) for part in lacking)
        raise CorpusError([f"{root}: missing are {names}."])
    return tables


def _rows(path: Path) -> list[Mapping[str, str]]:
    """Read a table; cells that a row lacks are empty."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:  # copies that went through a spreadsheet; only utterances suffer
        text = raw.decode("cp1252", errors="replace")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
        columns = [cell.strip() for cell in next(reader, [])]
        if lacking := [name for name in NEEDED if name not in columns]:
            raise CorpusError([f"{path}: its header lacks {', '.join(lacking)}."])
        rows = [dict(zip(columns, map(str.strip, row), strict=False)) for row in reader if any(row)]
    except csv.Error as error:
        raise CorpusError([f"{path}: {error}; take the publisher's file again."]) from error
    return [{name: row.get(name, "") for name in (*NEEDED, *KEPT)} for row in rows]


def _clips(base: Path, part: str) -> tuple[Path, dict[str, Path]]:
    """Return the folder of a part and its clips by name; the official folder if there is none."""
    for name in FOLDERS[part]:
        clips: dict[str, Path] = {}
        for entry in listed(base / name):
            stem, suffix = os.path.splitext(entry.name)
            if stem.startswith("dia") and suffix.lower() in VIDEO_SUFFIXES:
                clips.setdefault(stem, base / name / entry.name)
        if clips:
            return base / name, clips
    return base / FOLDERS[part][0], {}


CORPUS = PublishedCorpus(
    name="meld",
    title="MELD: multimodal EmotionLines, 13,708 utterances of Friends, 7 classes",
    url="https://affective-meld.github.io/",
    licence="GPL-3.0 for the annotation; the clips belong to the series' owners: research only",
    layout=LAYOUT,
    folds=(1,),
    labels=_labels,
    list_fold=list_fold,
    expected=expected,
)
