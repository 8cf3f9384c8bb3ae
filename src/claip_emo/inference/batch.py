"""Many files become rows of a table: by one model and several processes, or on a Ray cluster.

``Work`` knows what is left; an engine turns chunks of files into rows; both engines recognise by
``ChunkRecognizer``. Memory does not grow with the number of files but for their names.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from claip_emo.inference.abstention import AbstainChoice
from claip_emo.inference.batch_table import outcomes, row_of
from claip_emo.inference.batch_work import Chunk, Work
from claip_emo.inference.reader import ModalityChoice, Reader
from claip_emo.inference.reading_setup import Setup
from claip_emo.inference.recognizer import BATCH_SIZE, EmotionRecognizer
from claip_emo.inference.workers import Workers
from claip_emo.inference.workers_reader import WorkersReader
from claip_emo.media.faces import told_apart
from claip_emo.media.spec import DetectorKind
from claip_emo.model.checkpoint_folder import resolve
from claip_emo.model.folded import FoldedConfig

Rows = list[dict[str, Any]]
READ_AT_ONCE = 2**20  # bytes of a file that is hashed


@dataclass(frozen=True, slots=True)
class Choices:
    """How files are recognised.

    Attributes:
        folder: of the model.
        modality: use face and voice, or only one of them.
        face_detector: overrides the checkpoint's detector.
        face_model: YuNet's model file, where it is not to come from the hub.
        device: of the model.
        precision: number format of its towers.
        abstain_below: score below which the label is ``uncertain``.
        batch_size: views that are scored at once.
        workers: processes that read; on Ray, actors that recognise.
        timeout_s: a file that takes longer to read fails.
    """

    folder: str
    modality: ModalityChoice = "av"
    face_detector: DetectorKind | None = None
    face_model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    abstain_below: AbstainChoice = None
    batch_size: int = BATCH_SIZE
    workers: int = 1
    timeout_s: float | None = None

    @classmethod
    def of(cls, model: str | Path | None, **choices: Any) -> Self:
        """Find the model.

        Raises:
            CheckpointError: if it is none.
        """
        return cls(str(Path(resolve(model)).absolute()), **choices)

    def how(self, reader: Reader) -> dict[str, Any]:
        """Return what the rows follow from, with what reads files; how fast they come does not."""
        chosen = asdict(self)
        for name in ("folder", "face_detector", "face_model", "device", "batch_size", "workers",
                     "timeout_s"):  # fmt: skip
            del chosen[name]
        return chosen | {"model": digest(Path(self.folder))} | told_apart(reader.detector)

    def reader(self) -> Reader:
        """Return what reads files for the model.

        Raises:
            FaceModelError: if the detector's model file is missing or broken.
        """
        return Reader.of_checkpoint(
            Path(self.folder), face_detector=self.face_detector, face_model=self.face_model
        )

    def labels(self) -> tuple[str, ...]:
        """Return the classes of the model, which is not loaded for that."""
        return FoldedConfig.read(Path(self.folder)).label_set.names


def digest(folder: Path) -> str:
    """Return what tells the content of a folder from another's."""
    whole = hashlib.sha256()
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = str(path.relative_to(folder)).encode("utf-8", "replace")
        whole.update(b"%s\0%d\0" % (name, path.stat().st_size))
        with path.open("rb") as stream:
            while part := stream.read(READ_AT_ONCE):
                whole.update(part)
    return whole.hexdigest()


class ChunkRecognizer:
    """Recognises files: one model here, and processes that read.

    Args:
        choices: how.
        reader: what reads files; theirs, ``choices.reader()``.
    """

    def __init__(self, choices: Choices, reader: Reader):
        """Load the model and start the processes.

        Raises:
            CheckpointError: if the model is incomplete.
            ValueError: if it does not compute so.
        """
        self._choices = choices
        self._recognizer = EmotionRecognizer.from_pretrained(
            choices.folder,
            device=choices.device,
            precision=choices.precision,
            reader=reader,
            abstain_below=choices.abstain_below,
        )
        self.labels = self._recognizer.labels.names
        reader.mask(choices.modality)  # refused now rather than in the middle
        setup = Setup.of(self._recognizer.predictor, reader, choices.workers, None)
        self._workers = Workers(setup, choices.workers)
        self._recognizer.reader = WorkersReader(reader, self._workers, choices.timeout_s)

    def rows(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Rows]]:
        """Yield each chunk with the rows of its files, as soon as it is done."""
        begun: deque[Chunk] = deque()

        def paths() -> Iterator[str]:
            for chunk in chunks:
                begun.append(chunk)
                yield from chunk.paths

        rows: Rows = []
        choices = self._choices
        found = self._recognizer.many(
            paths(), modality=choices.modality, batch_size=choices.batch_size
        )
        with closing(found):
            for result in found:
                rows.append(row_of(result, self.labels))
                if len(rows) == len(begun[0].paths):
                    yield begun.popleft(), rows
                    rows = []

    def close(self) -> None:
        """End the processes."""
        self._workers.close()


class Engine(Protocol):
    """Turns chunks into rows, in any order."""

    def rows(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, Rows]]:
        """Yield each chunk with the rows of its files."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


@dataclass(slots=True)
class Summary:
    """What came of a batch.

    Attributes:
        files: rows of the table.
        done_now: files that this run did.
        failed: rows with an error, in all of the table.
        labels: how often each label was given, in all of the table.
    """

    files: int = 0
    done_now: int = 0
    failed: int = 0
    labels: Counter[str] = field(default_factory=Counter)


Tell = Callable[[int, int, int], None]
"""Is told how many of how many files are done, and how many of those done now failed."""


def run(
    paths: Iterable[str],
    work: Work,
    make_engine: Callable[[], Engine],
    *,
    again: bool = False,
    tell: Tell = lambda done, total, failed: None,
) -> Summary:
    """Recognise files and write the table of all of them; goes on where it was.

    Args:
        paths: of the files.
        work: what is known of them.
        make_engine: loads what turns files into rows; not asked where nothing is left.
        again: do those anew that failed.
        tell: is told how far it is.

    Raises:
        BatchError: if the table or its folder cannot be gone on with.
    """
    total = work.add(paths, again=again)
    done, summary = work.done(), Summary()
    tell(done, total, 0)
    failed = 0
    left = list(work.missing())
    if left:
        with closing(make_engine()) as engine, closing(engine.rows(left)) as found:
            for chunk, rows in found:
                work.write(chunk, rows)
                done, summary.done_now = done + len(rows), summary.done_now + len(rows)
                failed += sum(row["error"] is not None for row in rows)
                tell(done, total, failed)
    work.finish()
    for label, error in outcomes(work.out):
        summary.files += 1
        summary.failed += error is not None
        summary.labels.update([label] if label is not None else [])
    return summary
