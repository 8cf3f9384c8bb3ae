"""What is done and what is left of a batch, in a folder beside its table; safe against kill -9.

The files are cut into chunks, and each chunk becomes a shard that is written whole and renamed. So
a chunk is done or it is not, and whoever goes on does those that are not. When all are done, the
shards become the table, which says of which work it is; then the folder goes.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claip_emo.inference.batch_table import join, read_tables, schema, text, write_rows
from claip_emo.whole_files import PARTIAL, sync, write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CHUNK = 32  # files of a shard: what a kill costs
ABOUT = b"claip_emo"  # metadata of a table
RUN, LOCK = "run.json", "lock"
OURS = re.compile(rf"({re.escape(PARTIAL)})?(run\.json|lock|files-\d+\.json|\d+-\d+\.parquet)")


class BatchError(ValueError):
    """A table or a folder that cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Files that are done together.

    Attributes:
        name: of its shard.
        paths: of the files.
    """

    name: str
    paths: tuple[str, ...]


class Work:
    """The state of a batch.

    Args:
        out: the table that comes of it.
        how: what its rows follow from, such as the model; a table holds rows of one kind.
        labels: of the model.
    """

    def __init__(self, out: Path, how: Mapping[str, Any], labels: Sequence[str]):
        """Begin, or go on where it was.

        Raises:
            BatchError: if the table or the folder is of other work, or somebody works on it.
        """
        self.out, self.columns = out, schema(labels)
        self.folder = out.with_name(f"{out.name}.work")
        self._how = dict(how)
        self._lock = _locked(self.folder)
        try:
            former = _about(out)  # judged when nobody else can change it
            if former is not None:
                self._refuse_another(former["how"], out)
            self._id = self._begun(None if former is None else former["work"])
        except BaseException:
            if [*self.folder.iterdir()] == [self.folder / LOCK]:  # it was made for nothing
                self._leave()
            self.close()
            raise

    def _begun(self, in_table: str | None) -> str:
        """Return the name of this work, which it has had since it began."""
        run = _read(self.folder / RUN)
        whole = run is not None and run["id"] == in_table  # and only the folder was left
        rows = any(self.folder.glob("[0-9]*.parquet"))  # written whole
        if run is None or whole or (not rows and self._differ(run["how"])):
            self._clear()
            run = {"id": uuid.uuid4().hex, "how": self._how}
            write_text(self.folder / RUN, json.dumps(run))
        self._refuse_another(run["how"], self.folder)
        return run["id"]

    def add(self, paths: Iterable[str], *, again: bool = False) -> int:
        """Take files that are neither done nor waiting.

        Args:
            paths: of the files.
            again: also those that failed.

        Returns:
            How many files are known now, with those that are in the table.
        """
        waiting, table = self._waiting(), self._in_table(again)
        named = dict.fromkeys(paths)
        new = [path for path in named if path not in waiting and text(path) not in table]
        everything = {*map(text, waiting), *map(text, new), *self._in_table(again=False)}
        if new:
            number = len(self._lists()) + 1
            write_text(self.folder / f"files-{number:04}.json", json.dumps(new))
        return len(everything)

    def done(self) -> int:
        """Return how many files are done, with those that are in the table."""
        left = sum(len(chunk.paths) for chunk in self.missing())
        return len(self._waiting()) - left + len(self._kept_of_table())

    def missing(self) -> Iterator[Chunk]:
        """Yield the chunks that are left."""
        return (c for c in self._chunks() if not (self.folder / c.name).exists())

    def write(self, chunk: Chunk, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the rows of a chunk, one for each of its files, in their order."""
        if [row["path"] for row in rows] != [text(path) for path in chunk.paths]:
            raise BatchError(f"{self.folder / chunk.name}: these are not the rows of its files.")
        write_rows(rows, self.columns, self.folder / chunk.name)

    def finish(self) -> None:
        """Write the table, in the order in which files were named, and remove the folder.

        Raises:
            BatchError: if something is left.
        """
        chunks = list(self._chunks())
        if chunks:
            left = next(self.missing(), None)
            if left is not None:
                raise BatchError(f"{self.folder}: {left.name} is not done yet.")
            about = json.dumps({"how": self._how, "work": self._id}).encode()
            shards = [self.folder / chunk.name for chunk in chunks]
            join(
                (table for part in (self._kept(), read_tables(shards)) for table in part),
                self.columns.with_metadata({ABOUT: about}),
                self.out,
            )
            sync(self.out.absolute().parent)
        self._clear()
        self._leave()
        self.close()

    def _leave(self) -> None:
        """Remove the folder, which is empty, while nobody else can get into it."""
        (self.folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has begun in it since
            self.folder.rmdir()

    def close(self) -> None:
        """Let others go on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _lists(self) -> list[Path]:
        return sorted(self.folder.glob("files-*.json"))

    def _waiting(self) -> set[str]:
        return {path for each in self._lists() for path in json.loads(each.read_text("utf-8"))}

    def _chunks(self) -> Iterator[Chunk]:
        for number, each in enumerate(self._lists(), 1):
            paths = json.loads(each.read_text("utf-8"))
            for start in range(0, len(paths), CHUNK):
                name = f"{number:04}-{start // CHUNK:07}.parquet"
                yield Chunk(name, tuple(paths[start : start + CHUNK]))

    def _in_table(self, again: bool) -> set[str]:
        """Return the files of the table, without those that failed where they are done again."""
        if not self.out.exists():
            return set()
        table = pq.read_table(self.out, columns=["path", "error"])
        if again:
            table = table.filter(pc.is_null(table["error"]))
        return set(table["path"].to_pylist())

    def _kept_of_table(self) -> set[str]:
        return self._in_table(again=False) - {text(path) for path in self._waiting()}

    def _kept(self) -> Iterator[pa.Table]:
        """Yield what stays of the table: the rows of files that were not done again."""
        if not self.out.exists():
            return
        anew = pa.array([text(path) for path in self._waiting()], pa.string())
        for table in read_tables([self.out]):
            yield table.filter(pc.invert(pc.is_in(table["path"], anew)))

    def _refuse_another(self, how: Mapping[str, Any], where: Path) -> None:
        if differ := self._differ(how):
            raise BatchError(
                f"{where} holds rows that were made otherwise ({', '.join(differ)}). Name another "
                "--out, or remove it."
            )

    def _differ(self, how: Mapping[str, Any]) -> list[str]:
        """Return in what another way of making rows differs from this one."""
        mine = json.loads(json.dumps(self._how))
        return sorted(key for key in {*how, *mine} if how.get(key) != mine.get(key))

    def _clear(self) -> None:
        """Remove what earlier work left."""
        for file in self.folder.iterdir():
            if not OURS.fullmatch(file.name):
                raise BatchError(f"{file} is not a batch's: move it, or name another --out.")
            if file.name != LOCK:
                file.unlink()


def _about(table: Path) -> dict[str, Any] | None:
    """Return what a table says of itself; None: there is no table.

    Raises:
        BatchError: if it is no table of a batch.
    """
    if not table.exists():
        return None
    try:
        return json.loads((pq.read_schema(table).metadata or {})[ABOUT])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise BatchError(f"{table} is there already, and no batch wrote it.") from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None


def _locked(folder: Path) -> int | None:
    """Make a folder, and return a lock of it that ends with the process.

    Whoever had it may have removed the folder since it was opened: then it is made anew.
    """
    path = folder / LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            raise BatchError(f"{folder}: another process works on it.") from error
        os.close(descriptor)
