"""Faces on which ten people voted: FER2013's pictures with the votes of FER+.

Faces: Goodfellow et al. 2013, 48 x 48 px, grey. Votes: Barsoum et al. 2016
(https://github.com/microsoft/FERPlus). The votes are the target; FER2013's own label, which is
often wrong, only tells apart two faces of one name.
"""

from __future__ import annotations

import csv
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from claip_emo.corpora.base import CorpusError, OnProgress
from claip_emo.labels import SEVEN

logger = logging.getLogger(__name__)

Part = Literal["train", "select", "test", "pairs"]

FACES = "faces.parquet"
VOTES = "face_votes.parquet"  # on the faces of the file above
MORE = "faces_more.parquet"  # faces and votes in one
FILES: dict[Part, str] = {"train": VOTES, "pairs": VOTES, "select": MORE, "test": MORE}
SIDE_PX = 48
ON_SEVEN = tuple(f"votes_{name}" for name in SEVEN)
NO_FACE = "votes_NF"
BALLOT = (*ON_SEVEN, "votes_contempt", "votes_unknown", NO_FACE)
KEY = ("name", "label")  # FER2013 gave two pairs of faces one name, but not one label
HEADER = ("path", "label", "split")


@dataclass(frozen=True, eq=False)
class VotedFaces:
    """Faces and the votes on them.

    Attributes:
        names: (face,), file names in FER2013; few stand twice.
        pixels: (face, 48, 48), uint8 grey.
        votes: (face, 7), int64, in the order of ``labels.SEVEN``.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    votes: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.names)

    @property
    def targets(self) -> NDArray[np.float32]:
        """Shares of the votes among the seven classes, (face, 7), float32."""
        shares = self.votes / self.votes.sum(axis=1, keepdims=True)
        return np.asarray(shares, np.float32)

    @property
    def majority(self) -> NDArray[np.int64]:
        """The class with most votes among the seven, (face,); -1 where two tie for most."""
        most = self.votes.max(axis=1, keepdims=True)
        tied = (self.votes == most).sum(axis=1) > 1
        return np.where(tied, -1, self.votes.argmax(axis=1))


def read_voted_faces(root: Path, part: Part) -> VotedFaces:
    """Read the faces of one part, in the order of its file.

    Left out are pictures that at least half of the voters call no face, and those without a vote
    among the seven classes; their number is logged.

    Args:
        root: folder with ``faces.parquet`` and ``face_votes.parquet`` (parts ``train`` and
            ``pairs``) or ``faces_more.parquet`` (``select`` and ``test``).
        part: ``train``, ``select``, ``test`` or ``pairs``.

    Raises:
        CorpusError: for a missing file, column or face, and for pictures that cannot be read or
            are not 48 x 48 grey; the message names them.
    """
    if part not in FILES:
        known = ", ".join(get_args(Part))
        raise CorpusError([f"There is no part {part!r} of the voted faces; parts are {known}."])
    path = root / FILES[part]
    own_pictures = path.name == MORE
    table = _read(path, (*KEY, "part", *BALLOT, *(("image",) if own_pictures else ())))
    table = table.filter(pc.equal(table["part"], part))
    if not len(table):
        raise CorpusError([f"{path} has no face of the part {part!r}."])
    ballot = np.stack([table[name].to_numpy() for name in BALLOT], axis=1).astype(np.int64)
    votes = ballot[:, : len(SEVEN)]
    no_face = 2 * ballot[:, BALLOT.index(NO_FACE)] >= ballot.sum(axis=1)
    unnamed = ~no_face & (votes.sum(axis=1) == 0)
    kept = ~(no_face | unnamed)
    if not kept.all():
        logger.info(
            "%s, %s: %d of %d pictures are left out: %d are no faces, %d have no vote among the "
            "seven classes.",
            path.name,
            part,
            np.count_nonzero(~kept),
            len(kept),
            np.count_nonzero(no_face),
            np.count_nonzero(unnamed),
        )
    table = table.filter(pa.array(kept))
    names = tuple(table["name"].to_pylist())
    if own_pictures:
        return VotedFaces(names, _pixels(path, names, table["image"].to_pylist()), votes[kept])
    images = _images_of(root / FACES, table)
    return VotedFaces(names, _pixels(root / FACES, names, images), votes[kept])


def unpack_faces(root: Path, part: str, folder: Path, progress: OnProgress | None = None) -> Path:
    """Write the faces of a part as pictures, with a table that ``corpora.table`` reads.

    Each face on whose class the voters agree becomes one PNG in ``folder/part/``; they all are of
    the split ``test``. They are written whole or not at all, and not again where the same ones are
    there already.

    Args:
        root: folder of the faces, as in ``read_voted_faces``.
        part: ``train``, ``select``, ``test`` or ``pairs``.
        folder: where ``part/`` and ``part.csv`` are written.
        progress: told how many faces are written of how many.

    Returns:
        The table, ``folder/part.csv``.

    Raises:
        CorpusError: as ``read_voted_faces``, and where something else stands in the way.
    """
    faces = read_voted_faces(root, cast("Part", part))
    agreed = np.flatnonzero(faces.majority >= 0)
    files = _file_names([faces.names[place] for place in agreed])
    labels = [SEVEN[label] for label in faces.majority[agreed]]
    pictures = dict(zip(files, faces.pixels[agreed], strict=True))
    text = _table([f"{part}/{name}" for name in files], labels)
    target, table = folder / part, folder / f"{part}.csv"
    if _is_there(target, table, pictures, text):
        return table
    _check_replaceable(target, table)
    folder.mkdir(parents=True, exist_ok=True)
    # A folder of its own: two processes may unpack the same faces at once.
    with tempfile.TemporaryDirectory(prefix=f".{part}-", dir=folder) as made:
        new = Path(made) / part
        new.mkdir()
        for number, (name, pixels) in enumerate(pictures.items(), start=1):
            (new / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
            if progress is not None:
                progress(number, len(pictures))
        listed = Path(made) / table.name
        listed.write_text(text, encoding="utf-8", newline="")
        # The pictures come last: nothing reads a table whose files are missing, and whoever is
        # interrupted here can begin again.
        if target.exists():
            target.rename(Path(made) / "old")
        listed.replace(table)
        new.rename(target)
    return table


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns, all of them there, of the right kind and without gaps."""
    if not path.is_file():
        raise CorpusError([f"{path} does not exist; name the folder that holds {path.name}."])
    try:
        there = set(pq.read_schema(path).names)
        if missing := [name for name in columns if name not in there]:
            raise CorpusError([f"{path} lacks the columns {', '.join(missing)}."])
        table = pq.read_table(path, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        raise CorpusError([f"{path} cannot be read as Parquet: {error}"]) from error
    wrong = [f"column {n}: {why}." for n in columns if (why := _wrong(n, table[n]))]
    if wrong:
        raise CorpusError(wrong, where=str(path))
    return table


def _wrong(name: str, column: pa.ChunkedArray) -> str:
    """Say what is wrong with a column, if anything is."""
    kind: Any = column.type
    if column.null_count:
        return f"{column.null_count} rows are empty"
    if name == "image":
        right, wanted = pa.types.is_binary(kind) or pa.types.is_large_binary(kind), "bytes"
    elif name in BALLOT:
        right, wanted = pa.types.is_integer(kind), "whole numbers"
    else:
        right, wanted = pa.types.is_string(kind) or pa.types.is_large_string(kind), "text"
    return "" if right else f"it must be {wanted}, not {kind}"


def _images_of(path: Path, votes: pa.Table) -> list[bytes]:
    """Return the picture files of the faces that were voted on, in the order of the votes."""
    faces = _read(path, (*KEY, "image"))
    row = {key: number for number, key in enumerate(_keys(faces))}
    wanted = list(_keys(votes))
    lost = [f"there is no face {key[0]} labelled {key[1]}." for key in wanted if key not in row]
    if lost:
        raise CorpusError(lost, where=f"{path}, to which {VOTES} belongs")
    images = faces["image"].take(pa.array([row[key] for key in wanted], pa.int64()))
    return cast("list[bytes]", images.to_pylist())


def _keys(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(*(table[name].to_pylist() for name in KEY), strict=True)


def _pixels(path: Path, names: Sequence[str], images: Sequence[bytes]) -> NDArray[np.uint8]:
    """Decode pictures, (face, 48, 48); all that is wrong with them is reported at once."""
    pixels = np.empty((len(images), SIDE_PX, SIDE_PX), np.uint8)
    problems: list[str] = []
    for place, (name, image) in enumerate(zip(names, images, strict=True)):
        picture = _decoded(image)
        if picture is None:
            problems.append(f"{name} cannot be read as a picture.")
        elif picture.ndim != 2 or picture.dtype != np.uint8:
            problems.append(f"{name} is not grey with 8 bits.")
        elif picture.shape != (SIDE_PX, SIDE_PX):
            height, width = picture.shape
            problems.append(f"{name} is {width} x {height} px, not {SIDE_PX} x {SIDE_PX}.")
        else:
            pixels[place] = picture
    if problems:
        raise CorpusError(problems, where=str(path))
    return pixels


def _decoded(image: bytes) -> NDArray[Any] | None:
    if not image:  # OpenCV raises on nothing, and returns None for what it cannot read
        return None
    found = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_UNCHANGED)
    return cast("NDArray[Any] | None", found)


def _file_names(names: Sequence[str]) -> list[str]:
    """Return a PNG name for each face; the second of one name gets a number."""
    files: dict[str, None] = {}
    for name in names:
        stem = PurePosixPath(name).stem
        file, number = f"{stem}.png", 2
        while file in files:
            file, number = f"{stem}_{number}.png", number + 1
        files[file] = None
    return list(files)


def _table(paths: Sequence[str], labels: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((path, label, "test") for path, label in zip(paths, labels, strict=True))
    return text.getvalue()


def _is_there(target: Path, table: Path, pictures: dict[str, NDArray[np.uint8]], text: str) -> bool:
    """Whether the table and every picture are there, with this content."""
    if not table.is_file() or table.read_bytes() != text.encode():
        return False
    for name, pixels in pictures.items():
        file = target / name
        found = _decoded(file.read_bytes()) if file.is_file() else None
        if found is None or not np.array_equal(found, pixels):
            return False
    return True


def _check_replaceable(target: Path, table: Path) -> None:
    """Refuse to replace what ``unpack_faces`` did not write: its table names every file."""
    if not target.exists() and not table.exists():
        return
    listed = table.read_text(encoding="utf-8", errors="replace") if table.is_file() else ""
    rows = list(csv.reader(io.StringIO(listed, newline="")))
    ours = {row[0] for row in rows if row} if rows and tuple(rows[0]) == HEADER else set()
    there = {f"{target.name}/{file.name}" for file in target.glob("*")}
    if not ours or not there <= ours:
        raise CorpusError(
            [
                f"{target} or {table} is there already and was not unpacked from faces; "
                "remove it or name another folder."
            ]
        )
