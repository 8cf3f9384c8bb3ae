"""DFEW: 11,697 clips of films, seven classes, five folds (Jiang et al., ACM MM 2020).

The official split files number the classes from 1, copies in circulation from 0, and neither says
so: what the files hold tells.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.folders import bases_of, existing_folder, find_numbered, listed, number_of
from claip_emo.corpora.published import Counts, FoldMissingError, Listing, Place, PublishedCorpus
from claip_emo.corpora.split_files import Row, as_listing, read_lines
from claip_emo.labels import SEVEN, LabelSet

FIRST_LABEL = {"1-7": 1, "0-6": 0}  # as --label-order names them: official, copies
TOTALS = (2445, 1894, 2669, 2173, 1469, 145, 902)  # clips per class, of the whole corpus
TESTED = {
    1: (489, 379, 534, 435, 294, 29, 181),
    2: (489, 379, 534, 435, 294, 29, 181),
    3: (489, 379, 534, 435, 294, 29, 180),
    4: (489, 379, 534, 434, 294, 29, 180),
    5: (489, 378, 533, 434, 293, 29, 180),
}  # test clips per class, as peers print them
ORIGINALS = ("Clip/original", "original")
# What the publisher cropped to the face comes first, all frames before sixteen of them.
PREPARED = tuple(
    name
    for folder in ("clip_224x224", "jpg_256", "clip_jpg_256", "clip_224x224_16f")
    for name in (f"Clip/{folder}", folder)
)
LAYOUT = (
    "EmoLabel_DataSplit/{train,test}(single-labeled)/set_K.csv, or copies named "
    "train_set_K.csv and test_set_K.csv; Clip/original/1.mp4, or folders of frames such as "
    "Clip/clip_224x224/00001/, with audio_16k/1.wav beside them."
)
COLUMNS = ("video_name", "label")
LABEL = re.compile(r"(\d+)(?:\.0+)?")


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the split files of one fold hold.

    Raises:
        FoldMissingError: if there are none for it.
        CorpusError: if one of two is there, or it cannot be told whether labels start at 0 or 1.
    """
    files = _split_files(place.root, fold)
    cells = {part: _cells(file) for part, file in files.items()}
    first = _first_label([said for pairs in cells.values() for _, said in pairs], place, fold)
    clips = find_numbered(
        bases_of(place.root, place.clips),
        named=place.clips is not None,
        originals=ORIGINALS,
        prepared=PREPARED,
    )
    rows = [
        Row(name, part, said, _class_of(said, first))
        for part, pairs in cells.items()
        for name, said in pairs
    ]
    return as_listing(rows, fold, clips.locate)


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return the published clips per class; what is not tested on trains."""
    tested = TESTED[fold]
    return {
        "train": {
            name: all_ - some for name, all_, some in zip(SEVEN, TOTALS, tested, strict=True)
        },
        "test": dict(zip(SEVEN, tested, strict=True)),
    }


def _labels(place: Place) -> LabelSet:
    return SEVEN


def _split_files(root: Path, fold: int) -> dict[str, Path]:
    """Return the file of each part, in the official folders or in a copy's."""
    existing_folder(root, "The folder of DFEW")
    found = {part: _split_file(root, part, fold) for part in ("train", "test")}
    files = {part: file for part, file in found.items() if file is not None}
    if not files:
        raise FoldMissingError(
            [f"{root}: there are no split files of fold {fold} of DFEW. It should hold: {LAYOUT}"]
        )
    if len(files) < 2:
        there, lacking = ("train", "test") if "train" in files else ("test", "train")
        raise CorpusError([f"Fold {fold}: beside {files[there]}, its {lacking} file is missing."])
    return files


def _split_file(root: Path, part: str, fold: int) -> Path | None:
    name = rf"set_?0*{fold}\.(csv|txt)"
    for base in (root / "EmoLabel_DataSplit", root):
        # The publisher's page spells the folders with an underscore, the files with a hyphen.
        for folder in (f"{part}(single-labeled)", f"{part}(single_labeled)"):
            if found := _named(base / folder, rf"({part}_)?{name}"):
                return found
        if found := _named(base, rf"{part}_{name}"):
            return found
    return None


def _named(folder: Path, pattern: str) -> Path | None:
    """Return the first file of a folder whose name fits."""
    for entry in listed(folder):
        if re.fullmatch(pattern, entry.name, re.IGNORECASE):
            return folder / entry.name
    return None


def _cells(file: Path) -> list[tuple[str, str]]:
    """Return id and label of every row, as they are written but for the id's zeros."""
    lines = [re.split(r"[,;\t]", line) for line in read_lines(file)]
    cells = [[cell.strip().strip('"').strip() for cell in line] for line in lines]
    place = (0, 1)
    if cells and (header := [cell.lower() for cell in cells[0]]) and set(COLUMNS) <= set(header):
        place = (header.index(COLUMNS[0]), header.index(COLUMNS[1]))
        cells = cells[1:]
    elif cells and number_of(cells[0][0]) is None and not LABEL.fullmatch(cells[0][-1]):
        cells = cells[1:]  # a header with other names
    rows = []
    for row in cells:
        name, said = (row[p] if p < len(row) else "" for p in place)
        number = number_of(name)
        rows.append((name if number is None else f"{number:05d}", said))
    return rows


def _value(said: str) -> int | None:
    match = LABEL.fullmatch(said)
    return int(match.group(1)) if match else None


def _class_of(said: str, first: int) -> str | None:
    value = _value(said)
    if value is None or not 0 <= value - first < len(SEVEN):
        return None
    return SEVEN[value - first]


def _first_label(said: list[str], place: Place, fold: int) -> int:
    """Return the integer of the first class, told by what the files of a fold hold."""
    if place.label_order is not None:
        return _named_first(place.label_order)
    values = Counter(map(_value, said))
    if values[0] != values[7]:  # one of them may be a bad label; whole files have many of one
        return 0 if values[0] > values[7] else 1
    known = sorted(value for value in values if value is not None)
    span = f"run from {known[0]} to {known[-1]}" if known else "are no numbers"
    raise CorpusError(
        [
            f"Fold {fold}: its labels {span}, which does not tell whether they start at 1 (the "
            "official files) or at 0 (copies). Say so with --label-order 1-7 or --label-order 0-6 "
            "(data.label_order in a recipe)."
        ]
    )


def _named_first(order: tuple[str, ...]) -> int:
    if len(order) == 1 and order[0] in FIRST_LABEL:
        return FIRST_LABEL[order[0]]
    raise CorpusError(
        [
            f"The label order of dfew is 1-7 or 0-6, not {', '.join(order)!r}; "
            "without it, the files tell."
        ]
    )


CORPUS = PublishedCorpus(
    name="dfew",
    title="DFEW: Dynamic Facial Expression in the Wild, 11,697 clips of films, 7 classes",
    url="https://dfew-dataset.github.io/",
    licence="research only, on request: an agreement is signed",
    layout=LAYOUT,
    folds=tuple(TESTED),
    labels=_labels,
    list_fold=list_fold,
    expected=expected,
)
