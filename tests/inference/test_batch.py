"""Chunks go through an engine and into the table."""

import pytest

from claip_emo.inference.batch import run
from claip_emo.inference.batch_work import Work

from .test_batch_work import HOW, LABELS, paths, row, small_chunks  # noqa: F401


def test_who_is_interrupted_does_not_wait_for_those_that_read(tmp_path) -> None:
    """A film may take minutes: its process ends before the thread that waits for it is joined."""
    told = []

    class Slow:
        def rows(self, chunks):
            try:
                for chunk in chunks:
                    yield chunk, [row(path) for path in chunk.paths]
            finally:
                told.append("joined")

        def close(self) -> None:
            told.append("ended")

    def tell(done: int, total: int, failed: int) -> None:
        if done:
            raise KeyboardInterrupt

    work = Work(tmp_path / "out.parquet", HOW, LABELS)
    with pytest.raises(KeyboardInterrupt):
        run(paths(8), work, Slow, tell=tell)
    assert told[:2] == ["ended", "joined"]
    assert work.done() == 4
