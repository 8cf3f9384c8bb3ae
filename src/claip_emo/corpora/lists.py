"""Community lists of the HiCMAE family: a line ``frames wav label``, the label an integer.

No list says which class an integer means, and three orders of MAFW's are in circulation: so the
order must be named. Whether the named one fits shows in the counts of ``corpus check``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from claip_emo.corpora import dfew, mafw
from claip_emo.corpora.base import CorpusError
from claip_emo.corpora.folders import VIDEO_SUFFIXES, existing_folder, listed, number_of
from claip_emo.corpora.published import (
    TOGETHER,
    Counts,
    FoldMissingError,
    Listing,
    Place,
    PublishedCorpus,
)
from claip_emo.corpora.split_files import Row, as_listing, read_lines
from claip_emo.labels import SEVEN, LabelError, LabelSet
from claip_emo.media.source import SOUND_SUFFIXES

ORDERS = {
    "dfew": SEVEN,
    "mafw": mafw.SINGLE,
    "mafw_alphabetical": LabelSet(sorted(mafw.SINGLE)),
    "mafw_dfer_clip": LabelSet((*SEVEN, *mafw.SINGLE[7:])),
}
"""Orders in circulation; `mafw` is that of HiCMAE, MAE-DFER and CLAIP-Emo, the last that of
DFER-CLIP and MMA-DFER."""

NAME = re.compile(
    r"(?:(?P<corpus>.+?)[_-])?(?:(?:split|fold|set)[_-]?0*(?P<fold>\d+)[_-])?"
    r"(?P<part>train|test)\.(?:csv|txt)",
    re.IGNORECASE,
)
SPLIT_FOLDER = re.compile(r"(?:split|fold|set)[_-]?0*(?P<fold>\d+)", re.IGNORECASE)
UNNAMED = "lists"  # variant of lists whose file names name no corpus
# What HiCMAE leaves out of MAFW as it has no sound: its lists of fold 1 against the official ones.
WITHOUT_SOUND = {"anger": 2, "happiness": 6, "neutral": 2, "sadness": 4, "surprise": 2}
HICMAE_MAFW_FOLD_1 = {"train": 7320, "test": 1836}
LAYOUT = (
    "lists such as mafw_split01_train.csv and mafw_split01_test.csv, or split01/train.csv; a line "
    "is `data/MAFW/data/frames/00025 data/MAFW/data/audio_16k/00025.wav 0`."
)


class Lists(PublishedCorpus):
    """Lists: the editions are the corpora that a folder holds lists of."""

    def variant_of(self, place: Place) -> str:
        """Return the corpus whose lists are wanted.

        Raises:
            CorpusError: if there is none, or several and none is named.
        """
        there = sorted({corpus for corpus, _, _ in _files(place.root)})
        choices = ", ".join(there)
        if not there:
            raise CorpusError([f"{place.root}: there are no lists. It should hold {LAYOUT}"])
        if place.variant is not None and place.variant not in there:
            raise CorpusError(
                [f"{place.root}: there are no lists of {place.variant!r}, only of {choices}."]
            )
        if place.variant is None and len(there) > 1:
            raise CorpusError(
                [
                    f"{place.root} holds lists of {choices}: name one with --variant {there[0]} "
                    "(data.variant in a recipe)."
                ]
            )
        return place.variant or there[0]

    def published_counts(self, place: Place, fold: int) -> Counts | None:
        """Return the counts of a list's corpus; numbers alone where its classes are named anew."""
        variant, labels = self.variant_of(place), labels_of(place)
        if variant == "mafw" and labels == ORDERS["mafw_dfer_clip"]:
            counts = mafw.expected("single", fold)  # MMA-DFER keeps the clips without sound
        else:
            counts = self.expected(variant, fold)
        if counts is None:
            return None
        return {
            part: count
            if isinstance(count, int) or set(count) == set(labels)
            else sum(count.values())
            for part, count in counts.items()
        }


def labels_of(place: Place) -> LabelSet:
    """Return the classes in the order of the integers.

    Raises:
        CorpusError: if the order is not named, or by an unknown name.
    """
    order = place.label_order
    known = ", ".join(ORDERS)
    if not order:
        raise CorpusError(
            [
                "A list numbers its classes without naming them, and three orders of MAFW's are in "
                "circulation: name the order with --label-order (data.label_order in a recipe). "
                f"Known are {known}; or name the classes themselves, in order, with commas."
            ]
        )
    if len(order) == 1:
        if order[0] in ORDERS:
            return ORDERS[order[0]]
        order = tuple(name.strip() for name in order[0].split(","))
    if len(order) < 2:
        raise CorpusError(
            [
                f"There is no label order {order[0]!r}; known are {known}. Classes are named with "
                "commas between them."
            ]
        )
    try:
        return LabelSet(order)
    except LabelError as error:
        raise CorpusError([f"The label order: {error}"]) from error


def list_fold(place: Place, fold: int) -> Listing:
    """Say what the lists of one fold hold.

    Raises:
        FoldMissingError: if there are none for it.
        CorpusError: if the label order is not named, or one of two lists is there only.
    """
    labels = labels_of(place)
    variant = CORPUS.variant_of(place)
    files = _files(place.root)
    parts = {part: files.get((variant, fold, part)) for part in ("train", "test")}
    if not any(parts.values()):
        raise FoldMissingError([f"{place.root}: there are no lists of fold {fold} of {variant}."])
    if lacking := [part for part, file in parts.items() if file is None]:
        raise CorpusError([f"{place.root}: fold {fold} has no list to {lacking[0]}."])
    lines = [
        (part, *_cells(line)) for part, file in parts.items() if file for line in read_lines(file)
    ]
    names = _names([clip for _, clip, _, _ in lines])
    sounds = {names[clip]: (clip, sound) for _, clip, sound, _ in lines}
    disk = _Disk(place)
    rows = [Row(names[clip], part, said, _class_of(said, labels)) for part, clip, _, said in lines]
    return as_listing(rows, fold, lambda name: disk.locate(*sounds[name]))


def expected(variant: str | None, fold: int) -> Counts | None:
    """Return the counts of HiCMAE's lists: DFEW is whole, MAFW lacks 16 clips without sound."""
    if variant == "dfew":
        return dfew.expected(None, fold)
    if variant == "mafw":
        whole = {name: count - WITHOUT_SOUND.get(name, 0) for name, count in mafw.TOTALS.items()}
        return {**(HICMAE_MAFW_FOLD_1 if fold == 1 else {}), TOGETHER: whole}
    return None


def _files(root: Path) -> dict[tuple[str, int, str], Path]:
    """Return the lists of a folder by corpus, fold and part."""
    existing_folder(root, "The folder of the lists")
    files: dict[tuple[str, int, str], Path] = {}
    for entry in listed(root):
        numbered = SPLIT_FOLDER.fullmatch(entry.name)
        if numbered and entry.is_dir():
            fold = int(numbered["fold"])
            for inner in listed(root / entry.name):
                if match := NAME.fullmatch(inner.name):
                    key = _key(match, fold)
                    files.setdefault(key, root / entry.name / inner.name)
        elif match := NAME.fullmatch(entry.name):
            files.setdefault(_key(match, 1), root / entry.name)
    return files


def _key(match: re.Match[str], fold: int) -> tuple[str, int, str]:
    corpus = (match["corpus"] or UNNAMED).lower()
    return corpus, int(match["fold"] or fold), match["part"].lower()


def _cells(line: str) -> tuple[str, str | None, str]:
    """Return clip, sound and label of a line; some lists have the number of frames for a sound."""
    cells = line.replace("\\", "/").rsplit(None, 2)
    if len(cells) == 1:
        return cells[0], None, ""
    sound = cells[1] if len(cells) == 3 and not cells[1].isdigit() else None
    return cells[0], sound, cells[-1]


def _class_of(said: str, labels: LabelSet) -> str | None:
    known = said.isascii() and said.isdigit() and int(said) < len(labels)
    return labels[int(said)] if known else None


def _names(clips: list[str]) -> dict[str, str]:
    """Return an id for each path: its name without ending, the path where others have that name."""
    short = {clip: _stem(PurePosixPath(clip).name) for clip in clips}
    often = Counter(short.values())
    return {clip: name if often[name] == 1 else clip for clip, name in short.items()}


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in (*VIDEO_SUFFIXES, *SOUND_SUFFIXES) else name


class _Disk:
    """Finds the paths of another machine on this one; every folder is listed once."""

    def __init__(self, place: Place):
        """Take the folder of clips, or that of the lists."""
        self.base = existing_folder(place.clips, "--clips") if place.clips else place.root
        self._names: dict[Path, dict[str, str]] = {}
        self._ends: dict[str, list[Path]] = {}

    def locate(self, clip: str, sound: str | None) -> tuple[Path, Path | None]:
        """Return where a clip lies, or should lie, and its sound if that is there."""
        path = self._find(clip, ("", *VIDEO_SUFFIXES)) or self.base / clip.lstrip("/")
        is_video = path.suffix.lower() in VIDEO_SUFFIXES
        if sound is None or (is_video and PurePosixPath(clip).suffix != path.suffix):
            return path, None  # a video in the place of its frames has its sound
        return path, self._find(sound, SOUND_SUFFIXES)

    def _find(self, written: str, suffixes: Sequence[str]) -> Path | None:
        """Return the longest end of a path that is there, or a file of that name or number."""
        parent, _, name = written.rpartition("/")
        wanted = (name, *(_bare(name) + suffix for suffix in suffixes))
        for folder in self._folders_of(parent):
            names = self._names[folder]
            for key in wanted:
                if key in names:
                    return folder / names[key]
        return None

    def _folders_of(self, parent: str) -> list[Path]:
        """Return the folders that ends of a path name and that hold anything, the longest first."""
        if parent not in self._ends:
            path = PurePosixPath(parent)
            steps = [part for part in path.parts if part != path.anchor]
            folders = [Path(path)] if path.is_absolute() else []
            folders += [self.base.joinpath(*steps[skip:]) for skip in range(len(steps) + 1)]
            for folder in folders:
                if folder not in self._names:
                    self._names[folder] = _names_in(folder)
            self._ends[parent] = [folder for folder in folders if self._names[folder]]
        return self._ends[parent]


def _names_in(folder: Path) -> dict[str, str]:
    """Return the names in a folder, also by number without zeros."""
    entries = [entry.name for entry in listed(folder)]
    bare = {_bare(name) + PurePosixPath(name).suffix.lower(): name for name in entries}
    return {**bare, **{name: name for name in entries}}


def _bare(name: str) -> str:
    """Return the number that a name is, without zeros, or the name without a media ending."""
    number = number_of(name)
    return _stem(name) if number is None else str(number)


CORPUS = Lists(
    name="lists",
    title="Lists `frames wav label` of the HiCMAE family, of DFEW, MAFW or another corpus",
    url="https://github.com/sunlicai/HiCMAE",
    licence="the lists' authors' terms; the clips keep their corpus's",
    layout=LAYOUT,
    folds=(1, 2, 3, 4, 5),
    labels=labels_of,
    list_fold=list_fold,
    expected=expected,
)
