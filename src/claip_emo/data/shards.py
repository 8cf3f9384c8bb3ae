"""Shards: files of prepared clips that are written whole and read in any order.

A shard is one Arrow file with one record batch, a row per clip. Its long column ``data`` holds the
bytes of a clip's pictures or sound; it goes through a temporary file, so that a clip of two hours
takes no more memory than a short one. Readers map shards into memory. Nothing of what they hold is
relied on unseen: each part of ``data`` has a checksum, and the other columns have one together.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from claip_emo.whole_files import PARTIAL, written

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger(__name__)

SUFFIX = ".arrow"
LEFT_OVER_S = 3600.0  # nobody writes one file for so long: what is older was left by a kill
SEAL = b"seal"  # metadata of a shard: the checksum of all columns but ``data``
CLAIMS, CLAIM_DIGITS = "claims", 15  # a file's name; 60 bits are as far as locks reach
OPEN_AT_ONCE = 16  # opening takes 0.2 ms; what is mapped counts as memory of the process

COMMON = [
    pa.field("clip", pa.string(), nullable=False),  # digest of its content
    pa.field("path", pa.string(), nullable=False),  # where it lay; nothing is found by it
    pa.field("error", pa.string()),  # why there is nothing
    pa.field("warnings", pa.list_(pa.string()), nullable=False),
    pa.field("duration_s", pa.float64(), nullable=False),
    pa.field("data", pa.large_binary(), nullable=False),
    pa.field("checksums", pa.list_(pa.uint32()), nullable=False),  # CRC-32 of each part of data
]
PICTURES = pa.schema(
    [
        *COMMON,
        pa.field("times_s", pa.list_(pa.float64()), nullable=False),  # of each frame
        pa.field("starts", pa.list_(pa.int64()), nullable=False),  # of its JPEG in data
        pa.field("lengths", pa.list_(pa.int64()), nullable=False),
        pa.field("face_rate", pa.float64()),
    ]
)
SOUND = pa.schema([*COMMON, pa.field("start_s", pa.float64())])  # null: there is no sound


class DamagedShardError(RuntimeError):
    """A shard that does not hold what was written; ``shard`` is its path."""

    def __init__(self, shard: Path, what: str):
        """Take the shard and what is wrong with it."""
        self.shard = shard
        super().__init__(shard, what)

    def __str__(self) -> str:
        """Say which shard, and what is wrong with it."""
        return f"{self.shard}: this part of the cache is damaged ({self.args[1]})"


class Place(NamedTuple):
    """Where a row is, and what can be told without opening it."""

    shard: str
    row: int
    error: str | None
    is_empty: bool


class Shard:
    """A shard that is being written; it is there when it is complete.

    Args:
        folder: where it will be.
        schema: of its rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema):
        """Open the temporary file of the long column."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._ends = [0]
        self._data = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (``close`` closes it)

    @property
    def nbytes(self) -> int:
        """Bytes of data so far."""
        return self._data.tell()

    def append(self, part: bytes | memoryview) -> tuple[int, int]:
        """Add a part to the data of the next row; return its start there and its checksum."""
        start = self._data.tell() - self._ends[-1]
        self._data.write(part)
        return start, zlib.crc32(part)

    def rewind(self) -> None:
        """Drop the data of the next row."""
        self._data.seek(self._ends[-1])
        self._data.truncate()

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, whose data were appended."""
        self._rows.append(row)
        self._ends.append(self._data.tell())

    def close(self) -> None:
        """Write the shard and let it appear under a name that nobody else takes."""
        try:
            if self._rows:
                self._write()
        finally:
            self._data.close()

    def _write(self) -> None:
        self._data.flush()
        held = mmap.mmap(self._data.fileno(), 0, access=mmap.ACCESS_READ) if self.nbytes else b""
        columns = []
        for field in self._schema:
            if field.name == "data":
                ends = pa.array(self._ends, pa.int64()).buffers()[1]
                parts = [None, ends, pa.py_buffer(held)]
                columns.append(pa.Array.from_buffers(field.type, len(self._rows), parts))
            else:
                columns.append(pa.array([row[field.name] for row in self._rows], field.type))
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        batch = batch.replace_schema_metadata({SEAL: _seal(batch)})
        shard = self._folder / f"{uuid.uuid4().hex}{SUFFIX}"
        with (
            written(shard) as partial,
            partial.open("wb") as out,
            pa.ipc.new_file(out, batch.schema) as writer,
        ):
            writer.write_batch(batch)


class Shelf:
    """The shards of one kind and one set of settings, and where in them each clip is.

    Args:
        folder: of the shards.
        schema: of their rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema):
        """Look at what is there."""
        self.folder = folder
        self.schema = schema
        self._places: dict[str, Place] = {}
        self._seen: set[str] = set()
        self.refresh()

    def __contains__(self, clip: str) -> bool:
        """Say whether a clip is here."""
        return clip in self._places

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._places)

    def __getitem__(self, clip: str) -> Place:
        """Return where a clip is."""
        return self._places[clip]

    def refresh(self) -> None:
        """Look for shards that were written since; one that cannot be read is set aside."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []  # asked for every clip
        for name in sorted({name for name in names if _is_whole(name)} - self._seen):
            shard = self.folder / name
            try:
                self._places.update(self._rows_of(shard))
            except FileNotFoundError:  # set aside by another process
                continue
            except DamagedShardError as error:
                logger.warning("%s; its clips must be prepared anew.", error)
                set_aside(shard)
            self._seen.add(name)

    def row(self, clip: str) -> tuple[Path, pa.RecordBatch, int]:
        """Return the shard of a clip, its content and the clip's row in it.

        Raises:
            DamagedShardError: if it is not what was written, or is gone.
        """
        place = self._places[clip]
        shard = self.folder / place.shard
        try:
            return shard, _opened(shard, self.schema), place.row
        except FileNotFoundError:
            raise DamagedShardError(shard, "it is no longer there") from None

    def forget(self, shard: str) -> None:
        """Count the clips of a shard as not being here."""
        self._places = {c: place for c, place in self._places.items() if place.shard != shard}

    def sweep(self) -> None:
        """Remove what killed processes left half written."""
        for partial in self.folder.glob(f"{PARTIAL}*"):
            try:
                if partial.stat().st_mtime < time.time() - LEFT_OVER_S:
                    partial.unlink()
            except OSError:  # it is gone, or nothing can be removed here
                continue

    def _rows_of(self, shard: Path) -> Iterator[tuple[str, Place]]:
        batch = _open(shard, self.schema)  # only what names the rows is read of it
        clips, errors = batch.column("clip").to_pylist(), batch.column("error").to_pylist()
        parts = batch.column("checksums").value_lengths().to_pylist()
        for row, (clip, error, count) in enumerate(zip(clips, errors, parts, strict=True)):
            yield clip, Place(shard.name, row, error, count == 0)


class Claims:
    """Who is at which clip, of all the processes that prepare clips into one folder.

    A claim is a lock on one byte of a file, at a place that the clip's digest says: the kernel
    gives it back when a process dies. Where locks are not to be had, every claim is granted: clips
    may then be prepared twice, which is a loss of time alone.

    Args:
        folder: of the cache.
    """

    def __init__(self, folder: Path):
        """Open the file; whoever else opens and closes it in this process lets go of all claims."""
        self._file = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / CLAIMS).open("ab")

    def take(self, clip: str) -> bool:
        """Claim a clip; False: another process is at it."""
        if fcntl is None or self._file is None:
            return True
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(clip[:CLAIM_DIGITS], 16))
        except OSError as error:
            return error.errno not in (errno.EACCES, errno.EAGAIN)
        return True

    def release(self) -> None:
        """Let go of every clip."""
        if fcntl is not None and self._file is not None:
            with suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def set_aside(shard: Path) -> None:
    """Rename a damaged shard, so that its clips are prepared anew; or leave it, if it must stay."""
    try:
        shard.rename(shard.with_suffix(".damaged"))
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s cannot be renamed (%s).", shard, error.strerror)


def _is_whole(name: str) -> bool:
    """Say whether a file is a shard; one that is being written ends like it."""
    return name.endswith(SUFFIX) and not name.startswith(PARTIAL)


def _seal(batch: pa.RecordBatch) -> bytes:
    return b"%08x" % zlib.crc32(batch.drop_columns(["data"]).serialize())


def _open(shard: Path, schema: pa.Schema) -> pa.RecordBatch:
    """Map a shard into memory and check its structure.

    Raises:
        FileNotFoundError: if it is not there.
        DamagedShardError: if it is not what was written.
    """
    try:
        with pa.memory_map(str(shard)) as mapped:
            batch = pa.ipc.open_file(mapped).get_batch(0)
        if batch.schema != schema:
            raise DamagedShardError(shard, "it has other columns")
        batch.validate(full=True)
        if (batch.schema.metadata or {}).get(SEAL) != _seal(batch):
            raise DamagedShardError(shard, "a checksum differs")
    except OSError as error:
        if error.errno is not None:
            raise  # the machine's: not there, too many open files, a disk that does not answer
        raise DamagedShardError(shard, str(error).splitlines()[0]) from error
    except (pa.ArrowException, ValueError) as error:
        raise DamagedShardError(shard, str(error).splitlines()[0]) from error
    return batch


@lru_cache(OPEN_AT_ONCE)
def _opened(shard: Path, schema: pa.Schema) -> pa.RecordBatch:
    return _open(shard, schema)
