"""Rows of many files as a table: Parquet, a row per file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from claip_emo.inference.result import EmotionResult
from claip_emo.whole_files import written

ROWS_AT_ONCE = 4096


def schema(labels: Sequence[str]) -> pa.Schema:
    """Return the columns of a model's rows."""
    texts = pa.list_(pa.string())
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            *(pa.field(f"score_{name}", pa.float64()) for name in labels),
            pa.field("duration_s", pa.float64()),
            pa.field("face_rate", pa.float64()),
            pa.field("modalities", texts, nullable=False),
            pa.field("warnings", texts, nullable=False),
            pa.field("error", pa.string()),
        ]
    )


def row_of(result: EmotionResult, labels: Sequence[str]) -> dict[str, Any]:
    """Return a result as a row."""
    row = result.to_dict()
    scores = row.pop("scores") or {}
    row |= {f"score_{name}": scores.get(name) for name in labels}
    said = {name: text(row[name]) for name in ("path", "label", "error") if row[name] is not None}
    return row | said | {"warnings": [text(warning) for warning in row["warnings"]]}


def text(words: str) -> str:
    r"""Return words as UTF-8 has them: bytes of names that are none are written as ``\udcff``."""
    return words.encode("utf-8", "backslashreplace").decode()


def write_rows(rows: Sequence[dict[str, Any]], columns: pa.Schema, path: Path) -> None:
    """Write rows as a whole file."""
    with written(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), columns), partial, compression="zstd")


def read_tables(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files one after the other, some thousands at a time at most."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield pa.Table.from_batches([batch])


def join(tables: Iterable[pa.Table], columns: pa.Schema, path: Path) -> int:
    """Write tables into one whole file, in their order; return the number of rows.

    Small ones are gathered: a file of many small groups is slow to read.
    """
    count, held, waiting = 0, 0, list[pa.Table]()
    with written(path) as partial, pq.ParquetWriter(partial, columns, compression="zstd") as writer:
        for table in tables:
            waiting.append(table.cast(columns))
            held, count = held + len(table), count + len(table)
            if held >= ROWS_AT_ONCE:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                held, waiting = 0, []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
    return count


def outcomes(path: Path) -> Iterator[tuple[str | None, str | None]]:
    """Yield the label and the error of each row of a table."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["label", "error"]):
            yield from zip(*(batch[name].to_pylist() for name in ("label", "error")), strict=True)
