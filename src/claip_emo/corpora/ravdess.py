"""RAVDESS, speech: 1,440 clips of 24 actors who speak two sentences in eight emotions.

Livingstone & Russo, PLoS ONE 2018. There are no official folds. Ours are those of the lists that go
round with HiCMAE's code (six folds, as in its paper): by actor, in the order of their numbers, four
to a fold, two women and two men.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from claip_emo.corpora.base import CorpusError, Sample
from claip_emo.corpora.folders import VIDEO_SUFFIXES, existing_folder, listed
from claip_emo.corpora.published import Counts, Listing, Place, PublishedCorpus
from claip_emo.labels import LabelSet
from claip_emo.media.source import SOUND_SUFFIXES

CODES = {
    "01": "neutral",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
"""The publisher's codes, in their order, and our names."""

PER_ACTOR = {name: 4 if name == "neutral" else 8 for name in CODES.values()}  # 60
ACTORS = 24
ACTORS_PER_FOLD = 4
FOLDS = (1, 2, 3, 4, 5, 6)
FULL, SILENT, SOUND = "01", "02", "03"  # modality: picture and sound, picture, sound
NAME = re.compile(
    r"(?P<modality>0[123])-(?P<trial>01-(?P<emotion>\d\d)-(?P<intensity>\d\d)-(?P<statement>\d\d)"
    r"-(?P<repetition>\d\d)-(?P<actor>0[1-9]|1\d|2[0-4]))"
)  # channel 01 is speech; songs are no part of this corpus
ACTOR_FOLDER = re.compile(r"actor_\d\d", re.IGNORECASE)
DEEPEST = 2  # levels of folders: an archive's, an actor's
LAYOUT = (
    "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4 and so on, as the archives unpack, or "
    "Actor_01/ ... Actor_24/; for sound alone Audio_Speech_Actors_01-24/Actor_01/03-01-....wav."
)


def fold_of(actor: int) -> int:
    """Return the fold that an actor is tested in."""
    return (actor - 1) // ACTORS_PER_FOLD + 1


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the names of the files hold.

    The clips are the files with picture and sound (modality 01). The same takes are shipped without
    sound (02) and as sound (03): they are no clips where there are pictures, but a take that is
    there in one of these forms only is a clip that is missing. Where there is sound alone, that is
    the clip.

    Raises:
        CorpusError: if nothing of the corpus is there.
    """
    existing_folder(place.root, "The folder of RAVDESS")
    base = place.root if place.clips is None else existing_folder(place.clips, "--clips")
    takes: dict[str, dict[str, list[Path]]] = {}  # trial -> modality -> files
    for path, match in _files(base):
        takes.setdefault(match["trial"], {}).setdefault(match["modality"], []).append(path)
    if not takes:
        raise CorpusError([f"{base}: there is no clip of RAVDESS. It should hold: {LAYOUT}"])
    pictures = any(FULL in forms or SILENT in forms for forms in takes.values())
    wanted, suffix = (FULL, ".mp4") if pictures else (SOUND, ".wav")
    samples, duplicates, bad_labels = [], [], {}
    for trial, forms in sorted(takes.items()):
        name = f"{wanted}-{trial}"
        said = NAME.fullmatch(name)
        assert said is not None
        label = CODES.get(said["emotion"])
        if len(forms.get(wanted, ())) > 1:
            duplicates.append(name)
        if label is None:
            bad_labels[name] = said["emotion"]
            continue
        absent = _home(forms, base, said["actor"]) / f"{name}{suffix}"
        tested = fold_of(int(said["actor"])) == fold
        samples.append(
            Sample(
                id=name,
                path=forms.get(wanted, [absent])[0],
                label=label,
                split="test" if tested else "train",
                fold=fold if tested else None,
                speaker=said["actor"],
                extra={
                    "sex": "male" if int(said["actor"]) % 2 else "female",
                    "intensity": "strong" if said["intensity"] == "02" else "normal",
                    "statement": said["statement"],
                    "repetition": said["repetition"],
                },
            )
        )
    return Listing(tuple(samples), tuple(duplicates), bad_labels)


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return the clips per class: every actor has 60, four neutral ones and eight of the others."""
    tested = {name: count * ACTORS_PER_FOLD for name, count in PER_ACTOR.items()}
    return {
        "train": {name: PER_ACTOR[name] * ACTORS - count for name, count in tested.items()},
        "test": tested,
    }


def _labels(place: Place) -> LabelSet:
    return LabelSet(CODES.values())


def _files(base: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    """Yield the files of speech in a folder, in its folders, and in the actors' folders there."""
    for folder, entries in _folders(base):
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            match = NAME.fullmatch(stem)
            if match is None:
                continue
            kinds = SOUND_SUFFIXES if match["modality"] == SOUND else VIDEO_SUFFIXES
            if suffix.lower() in kinds:
                yield folder / entry.name, match


def _folders(folder: Path, level: int = 0) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Yield the folders that may hold clips, and what they hold; each is listed once."""
    entries = listed(folder)
    yield folder, entries
    for entry in entries if level < DEEPEST else ():
        of_actor = ACTOR_FOLDER.fullmatch(entry.name) is not None
        of_archive = level == 0 and not entry.name.startswith(".")
        if (of_actor or of_archive) and entry.is_dir():
            yield from _folders(folder / entry.name, DEEPEST if of_actor else level + 1)


def _home(forms: dict[str, list[Path]], base: Path, actor: str) -> Path:
    """Return the folder in which a clip that is missing should lie."""
    silent = forms.get(SILENT)
    return silent[0].parent if silent else base / f"Actor_{actor}"


CORPUS = PublishedCorpus(
    name="ravdess",
    title="RAVDESS, speech: Ryerson audio-visual database of emotion, 1,440 clips, 8 classes",
    url="https://zenodo.org/records/1188976",
    licence="CC BY-NC-SA 4.0; commercial licences are sold",
    layout=LAYOUT,
    folds=FOLDS,
    labels=_labels,
    list_fold=list_fold,
    expected=expected,
)
