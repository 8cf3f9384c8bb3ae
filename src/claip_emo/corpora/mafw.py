"""MAFW: clips of films, series and shows, 11 single or 43 compound classes, five folds.

Liu et al., ACM MM 2022. The split files hold names; three orders of integers are in circulation
elsewhere, see ``lists``.
"""

from __future__ import annotations

from pathlib import Path

from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.folders import bases_of, existing_folder, find_numbered, listed, number_of
from claip_emo.corpora.published import (
    TOGETHER,
    Counts,
    FoldMissingError,
    Listing,
    Place,
    PublishedCorpus,
)
from claip_emo.corpora.split_files import Row, as_listing, read_lines
from claip_emo.labels import LabelSet

SINGLE = LabelSet(
    (
        "anger",
        "disgust",
        "fear",
        "happiness",
        "neutral",
        "sadness",
        "surprise",
        "contempt",
        "anxiety",
        "helplessness",
        "disappointment",
    )
)
"""The eleven single classes, in the order of HiCMAE, MAE-DFER and CLAIP-Emo."""

WITH_CAPTION = LabelSet(name for name in SINGLE if name != "neutral")
"""The classes of the clips that have captions."""

COMPOUND = LabelSet(
    (
        *SINGLE,
        "anger_disgust",
        "anger_sadness",
        "anger_surprise",
        "anger_anxiety",
        "anger_helplessness",
        "disgust_sadness",
        "disgust_surprise",
        "disgust_contempt",
        "disgust_anxiety",
        "disgust_helplessness",
        "disgust_disappointment",
        "fear_sadness",
        "fear_surprise",
        "fear_anxiety",
        "happiness_surprise",
        "happiness_contempt",
        "sadness_surprise",
        "sadness_anxiety",
        "sadness_helplessness",
        "sadness_disappointment",
        "surprise_anxiety",
        "anxiety_helplessness",
        "helplessness_disappointment",
        "anger_disgust_contempt",
        "anger_disgust_anxiety",
        "disgust_anxiety_helplessness",
        "disgust_helplessness_disappointment",
        "fear_sadness_anxiety",
        "fear_surprise_anxiety",
        "sadness_anxiety_helplessness",
        "sadness_helplessness_disappointment",
        "anxiety_helplessness_disappointment",
    )
)
"""The 43 classes of the compound split: one emotion, two or three, each in the order above."""

VARIANTS = {"single": SINGLE, "with_caption": WITH_CAPTION, "compound": COMPOUND}
FOLDERS = {
    "single": ("single/no_caption", "single"),
    "with_caption": ("single/with_caption",),
    "compound": ("compound/no_caption", "compound"),
}  # without the level of captions, as some unpack them
TOTALS = dict(
    zip(SINGLE, (1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182), strict=True)
)  # clips per single class, of the whole corpus and so of any fold
COMPOUND_TOTAL = 8996
PARTS = {
    ("single", 1): (7333, 1839),
    ("single", 2): (7335, 1837),
    ("single", 3): (7339, 1833),
    ("single", 4): (7340, 1832),
    ("single", 5): (7341, 1831),
    ("with_caption", 1): (6423, 1611),
    ("compound", 1): (7178, 1818),
}  # train and test, as far as they are published
CAPTIONS = ("caption_zh", "caption_en")
ORIGINALS = ("clips", "data/clips")
PREPARED = ("frames", "data/frames")
LAYOUT = (
    "{single,compound}/no_caption/set_K/{train,test}.txt and single/with_caption/set_K/; clips/"
    "00025.mp4 in it or beside it, or frames/00025/ with audio_16k/00025.wav beside them."
)


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the split files of one fold hold.

    Raises:
        FoldMissingError: if there are none for it.
        CorpusError: if one of two is there only.
    """
    variant = CORPUS.variant_of(place)
    assert variant is not None
    splits = _splits(place.root, variant)
    files = _files(splits, variant, fold)
    bases = bases_of(place.root, place.clips)
    if place.clips is None and splits != place.root:
        bases.insert(1, splits)
    clips = find_numbered(
        bases, named=place.clips is not None, originals=ORIGINALS, prepared=PREPARED
    )
    rows = [
        _row(line, part, VARIANTS[variant])
        for part, file in files.items()
        for line in read_lines(file)
    ]
    return as_listing(rows, fold, clips.locate)


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return what is published: clips of the parts, and clips per class of the whole corpus."""
    counts: dict[str, dict[str, int] | int] = {}
    if (str(variant), fold) in PARTS:
        counts["train"], counts["test"] = PARTS[str(variant), fold]
    if variant == "single":
        counts[TOGETHER] = dict(TOTALS)
    elif variant == "compound":
        counts[TOGETHER] = COMPOUND_TOTAL
    return counts or None


def _labels(place: Place) -> LabelSet:
    return VARIANTS[str(CORPUS.variant_of(place))]


def _splits(root: Path, variant: str) -> Path:
    """Return the folder that holds ``single/`` and ``compound/``: the root or one in it."""
    existing_folder(root, "The folder of MAFW")
    top = FOLDERS[variant][0].partition("/")[0]
    inside = [root / entry.name for entry in listed(root) if entry.is_dir()]
    return next((folder for folder in (root, *inside) if (folder / top).is_dir()), root)


def _files(splits: Path, variant: str, fold: int) -> dict[str, Path]:
    for folder in FOLDERS[variant]:
        files = {
            part: splits / folder / f"set_{fold}" / f"{part}.txt" for part in ("train", "test")
        }
        there = {part: file for part, file in files.items() if file.is_file()}
        if len(there) == len(files):
            return files
        if there:
            lacking = next(file for part, file in files.items() if part not in there)
            raise CorpusError([f"Fold {fold}: {lacking} is missing."])
    raise FoldMissingError(
        [
            f"{splits}: there are no split files of fold {fold} of MAFW, {variant} "
            f"({FOLDERS[variant][0]}/set_{fold}/). It should hold: {LAYOUT}"
        ]
    )


def _row(line: str, part: str, labels: LabelSet) -> Row:
    """Read ``00025.mp4 anger``, or the same with captions between tabs."""
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split(None, 1)
    name, said, *captions = [*cells, ""][: max(len(cells), 2)]
    number = number_of(name)
    label = said.lower()
    return Row(
        name if number is None else f"{number:05d}",
        part,
        said,
        label if label in labels else None,
        dict(zip(CAPTIONS, captions, strict=False)),
    )


CORPUS = PublishedCorpus(
    name="mafw",
    title="MAFW: compound affective database in the wild, 9,172 clips, 11 or 43 classes",
    url="https://mafw-database.github.io/MAFW/",
    licence="academic research only, on request: an agreement is signed",
    layout=LAYOUT,
    folds=(1, 2, 3, 4, 5),
    labels=_labels,
    list_fold=list_fold,
    expected=expected,
    variants=tuple(VARIANTS),
)
