"""Split files as people pass them on: their encoding, their lines, and what their rows say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claip_emo.corpora.base import CorpusError, Sample
from claip_emo.corpora.published import Listing

LINE_ENDS = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a split file.

    Attributes:
        id: of the clip.
        part: ``train`` or ``test``.
        said: the label as it stands in the file.
        label: the class that it means; None: none of the corpus's.
        extra: what else the row says.
    """

    id: str
    part: str
    said: str
    label: str | None
    extra: Mapping[str, str] = field(default_factory=dict)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file that are not blank, without spaces around them.

    The file is UTF-8 with or without BOM, else GB18030: Chinese in the latter is never valid in the
    former. Only line ends divide it; captions hold other separators that Python would split at.

    Raises:
        CorpusError: if it is neither.
    """
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return [line.strip() for line in LINE_ENDS.split(text) if line.strip()]
    raise CorpusError([f"{path} is neither UTF-8 nor GB18030; take the publisher's file again."])


def as_listing(
    rows: Iterable[Row], fold: int, locate: Callable[[str], tuple[Path, Path | None]]
) -> Listing:
    """Put the rows of one fold together; what is wrong with them is told, nothing is refused.

    A clip that stands in both parts is kept in the test part: there it belongs to the published
    fold, and in the training part it would be a leak.

    Args:
        rows: of both parts.
        fold: which.
        locate: id -> where the clip lies or should lie, and the file of its sound.
    """
    rows = list(rows)
    often = Counter(row.id for row in rows)
    kept: dict[str, Row] = {}
    for part in ("test", "train"):
        for row in rows:
            if row.part == part and row.label is not None:
                kept.setdefault(row.id, row)
    chosen = {id(row) for row in kept.values()}
    samples = []
    for row in rows:
        if id(row) in chosen:
            path, audio_path = locate(row.id)
            samples.append(
                Sample(
                    id=row.id,
                    path=path,
                    label=str(row.label),
                    audio_path=audio_path,
                    split=row.part,
                    fold=fold if row.part == "test" else None,
                    extra=row.extra,
                )
            )
    return Listing(
        samples=tuple(samples),
        duplicates=tuple(name for name, count in often.items() if count > 1),
        bad_labels={row.id: row.said for row in rows if row.label is None},
    )
