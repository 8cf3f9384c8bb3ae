"""CREMA-D: 7,442 clips of 91 actors who speak 12 sentences in six emotions.

Cao et al., IEEE Transactions on Affective Computing 2014. The label is the emotion that was acted,
as in all scores on it that are published with ours; what raters saw is another table of the
publisher's. There are no official folds. Ours are those of the lists that HiCMAE (Sun et al. 2024)
published: by actor, in the order of their numbers, 18 to a fold and 19 in the last.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claip_emo.corpora.base import CorpusError, Sample
from claip_emo.corpora.folders import VIDEO_SUFFIXES, existing_folder, listed
from claip_emo.corpora.published import TOGETHER, Counts, Listing, Place, PublishedCorpus
from claip_emo.labels import LabelSet
from claip_emo.media.source import SOUND_SUFFIXES

CODES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
"""The publisher's codes, in the order of HiCMAE's integers, and our names."""

INTENSITIES = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
DROPPED = {
    "1064_IEO_DIS_MD": "broken: a minute with every emotion of its sentence",
    "1064_TIE_SAD_XX": "broken: cut off, less than a second is left",
    "1076_MTI_NEU_XX": "broken: cut off, a few frames are left",
    "1076_MTI_SAD_XX": "broken: cut off, without sound",
}
"""The clips that the publisher names as broken; published scores leave them out."""

ACTORS = range(1001, 1092)
ACTORS_PER_FOLD = 18
FOLDS = (1, 2, 3, 4, 5)
PER_CLASS = {
    "anger": 1271,
    "disgust": 1270,
    "fear": 1271,
    "happiness": 1271,
    "neutral": 1086,
    "sadness": 1269,
}  # 1271 of each and 1087 neutral ones, less the four that are left out
TESTED = {1: 1463, 2: 1470, 3: 1476, 4: 1474, 5: 1555}  # lines of HiCMAE's test lists
NAME = re.compile(
    r"(?P<actor>1\d{3})_(?P<statement>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>[A-Z]{1,2})"
)
VIDEOS, SOUNDS = "VideoFlash", "AudioWAV"
LIST, ACTORS_TABLE = "SentenceFilenames.csv", "VideoDemographics.csv"
LAYOUT = (
    f"{VIDEOS}/1001_DFA_ANG_XX.flv and {SOUNDS}/1001_DFA_ANG_XX.wav, or one of the two folders "
    f"alone; {LIST} and {ACTORS_TABLE} as they come."
)


@dataclass(frozen=True, slots=True)
class _Files:
    """Clips and sounds by name, and the folder in which a clip that is missing should lie."""

    clips: Mapping[str, Path]
    sounds: Mapping[str, Path]

    def locate(self, name: str, base: Path) -> tuple[Path, Path | None]:
        """Return where a clip is or should be, and the file of its sound.

        The sound alone is the clip where there are no pictures at all.
        """
        if self.clips or not self.sounds:
            return self.clips.get(name, base / VIDEOS / f"{name}.flv"), self.sounds.get(name)
        return self.sounds.get(name, base / SOUNDS / f"{name}.wav"), None


def fold_of(actor: int) -> int:
    """Return the fold that an actor is tested in: 18 actors each, the last one has 19."""
    return min((actor - ACTORS[0]) // ACTORS_PER_FOLD + 1, FOLDS[-1])


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the publisher's list and the names of the files hold.

    A clip that is in the list, or has a sound but no picture while others have one, is missing.

    Raises:
        CorpusError: if nothing of the corpus is there, or a table of it lacks a column.
    """
    root = existing_folder(place.root, "The folder of CREMA-D")
    base = root if place.clips is None else existing_folder(place.clips, "--clips")
    files = _files(base)
    listed_names = [name for (name,) in _table(root / LIST, "Filename") if name]
    sexes = {row[0]: row[1] for row in _table(root / ACTORS_TABLE, "ActorID", "Sex")}
    names = sorted({*listed_names, *_matching(files.clips), *_matching(files.sounds)})
    if not names:
        raise CorpusError([f"{base}: there is no clip of CREMA-D. It should hold: {LAYOUT}"])
    samples, bad_labels = [], {}
    for name in names:
        match = _parts(name)
        if match is None or match["emotion"] not in CODES:
            bad_labels[name] = name if match is None else match["emotion"]
        elif name not in DROPPED:
            path, audio_path = files.locate(name, base)
            tested = fold_of(int(match["actor"])) == fold
            samples.append(
                Sample(
                    id=name,
                    path=path,
                    label=CODES[match["emotion"]],
                    audio_path=audio_path,
                    split="test" if tested else "train",
                    fold=fold if tested else None,
                    speaker=match["actor"],
                    extra=_extra(match, sexes),
                )
            )
    return Listing(
        samples=tuple(samples),
        duplicates=tuple(name for name, count in Counter(listed_names).items() if count > 1),
        bad_labels=bad_labels,
        dropped={name: why for name, why in DROPPED.items() if name in names},
    )


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return the clips per part and, of both parts together, per class.

    The publisher counts 7,442 clips, 1,271 of each emotion and 1,087 neutral ones; the four that
    are left out are taken off. How many a fold tests is what HiCMAE's lists have. Classes within a
    fold are published nowhere, and do not follow: 20 of the 91 x 82 takes were never released.
    """
    total = sum(PER_CLASS.values())
    return {"train": total - TESTED[fold], "test": TESTED[fold], TOGETHER: dict(PER_CLASS)}


def _labels(place: Place) -> LabelSet:
    return LabelSet(CODES.values())


def _parts(name: str) -> re.Match[str] | None:
    match = NAME.fullmatch(name)
    return match if match and int(match["actor"]) in ACTORS else None


def _matching(names: Iterable[str]) -> list[str]:
    return [name for name in names if _parts(name)]


def _extra(match: re.Match[str], sexes: Mapping[str, str]) -> dict[str, str]:
    extra = {
        "statement": match["statement"],
        "intensity": INTENSITIES.get(match["intensity"], match["intensity"]),
    }
    if sex := sexes.get(match["actor"]):
        extra["sex"] = sex.lower()
    return extra


def _files(base: Path) -> _Files:
    """Find clips and sounds in the publisher's folders, else in the folder itself."""
    clips, sounds = _by_name(base / VIDEOS)[0], _by_name(base / SOUNDS)[1]
    return _Files(clips, sounds) if clips or sounds else _Files(*_by_name(base))


def _by_name(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the videos and the sounds of a folder."""
    found: tuple[dict[str, Path], dict[str, Path]] = ({}, {})
    for entry in listed(folder):
        stem, suffix = os.path.splitext(entry.name)
        for kind, suffixes in zip(found, (VIDEO_SUFFIXES, SOUND_SUFFIXES), strict=True):
            if suffix.lower() in suffixes:
                kind.setdefault(stem, folder / entry.name)
    return found


def _table(path: Path, *columns: str) -> list[tuple[str, ...]]:
    """Return columns of one of the publisher's tables; nothing if it is not there."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise CorpusError(
            [f"{path}: its header lacks {', '.join(lacking)}; take the publisher's file again."]
        )
    return [tuple((row[name] or "").strip() for name in columns) for row in reader]


CORPUS = PublishedCorpus(
    name="crema_d",
    title="CREMA-D: crowd-sourced emotional multimodal actors, 7,442 clips, 6 classes",
    url="https://github.com/CheyneyComputerScience/CREMA-D",
    licence="Open Database License (ODbL 1.0); its form asks who uses it",
    layout=LAYOUT,
    folds=FOLDS,
    labels=_labels,
    list_fold=list_fold,
    expected=expected,
)
