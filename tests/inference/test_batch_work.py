"""What is done and what is left: every file once, whatever ended the work and whenever."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from claip_emo.inference import batch_work
from claip_emo.inference.batch_table import row_of, text
from claip_emo.inference.batch_work import BatchError, Work
from claip_emo.inference.result import EmotionResult

LABELS = ("joy", "fear")
HOW = {"model": "abc", "modality": "av"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(batch_work, "CHUNK", 4)


def row(path: str) -> dict:
    if "bad" in path:
        return row_of(EmotionResult(path, error=f"{path}: broken."), LABELS)
    score = len(path) / 100
    return row_of(
        EmotionResult(
            path, "joy", {"joy": score, "fear": 1 - score}, 2.5, 0.75, ("video",), ("small",)
        ),
        LABELS,
    )


def do(work: Work, most: int | None = None) -> int:
    """Do some of what is left."""
    done = 0
    for chunk in list(work.missing())[:most]:
        work.write(chunk, [row(path) for path in chunk.paths])
        done += len(chunk.paths)
    return done


def paths(count: int, start: int = 0) -> list[str]:
    return [f"{'bad' if n % 7 == 3 else 'clip'}{n}.mp4" for n in range(start, start + count)]


def table(out: Path) -> list[dict]:
    return pq.read_table(out).to_pylist()


def test_a_table_has_a_row_for_each_file_in_their_order(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    assert work.add(paths(10)) == 10
    assert [len(chunk.paths) for chunk in work.missing()] == [4, 4, 2]
    do(work)
    assert work.done() == 10
    work.finish()
    assert [each["path"] for each in table(out)] == paths(10)
    assert table(out)[0] == {
        "path": "clip0.mp4", "label": "joy", "score_joy": 0.09, "score_fear": 0.91,
        "duration_s": 2.5, "face_rate": 0.75, "modalities": ["video"], "warnings": ["small"],
        "error": None,
    }  # fmt: skip
    assert table(out)[3]["error"] == "bad3.mp4: broken."
    assert [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_what_is_done_is_not_done_again(tmp_path, done: int) -> None:
    out = tmp_path / "out.parquet"
    first = Work(out, HOW, LABELS)
    first.add(paths(10))
    do(first, done)
    first.close()  # as a kill does
    again = Work(out, HOW, LABELS)
    assert again.add(paths(10)) == 10
    assert again.done() == min(4 * done, 10)
    assert do(again) == 10 - min(4 * done, 10)
    again.finish()
    assert [each["path"] for each in table(out)] == paths(10)


def test_a_shard_that_was_half_written_is_not_there(tmp_path) -> None:
    work = Work(tmp_path / "out.parquet", HOW, LABELS)
    work.add(paths(4))
    (work.folder / f".partial-{next(work.missing()).name}").write_bytes(b"half")
    work.close()
    again = Work(tmp_path / "out.parquet", HOW, LABELS)
    assert again.done() == 0
    do(again)
    again.finish()
    assert not again.folder.exists()


def test_new_files_are_added_and_none_is_done_twice(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    work.add(paths(6))
    do(work, 1)
    assert work.add([*paths(9), "clip0.mp4"]) == 9  # more were found while it worked
    assert do(work) == 5
    work.finish()
    again = Work(out, HOW, LABELS)
    assert again.add([*paths(12), *paths(12)]) == 12
    assert again.done() == 9
    assert do(again) == 3
    again.finish()
    assert [each["path"] for each in table(out)] == paths(12)


def test_nothing_new_leaves_the_table_as_it_is(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    written = []
    for _ in range(2):
        work = Work(out, HOW, LABELS)
        work.add(paths(5))
        do(work)
        work.finish()
        written.append(out.read_bytes())
    assert written[0] == written[1]
    assert not work.folder.exists()


def test_those_that_failed_are_done_again_where_that_is_asked_for(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    work.add(paths(12))
    do(work)
    work.finish()
    again = Work(out, HOW, LABELS)
    again.add(paths(12), again=True)
    left = [path for chunk in again.missing() for path in chunk.paths]
    assert left == ["bad3.mp4", "bad10.mp4"]
    again.close()
    again = Work(out, HOW, LABELS)  # it goes on, also without being asked again
    assert again.add(paths(12)) == 12
    assert again.done() == 10
    for chunk in list(again.missing()):
        good = [row("clip.mp4") | {"path": path} for path in chunk.paths]
        again.write(chunk, good)
    again.finish()
    found = table(out)
    assert sorted(each["path"] for each in found) == sorted(paths(12))
    assert [each["error"] for each in found] == [None] * 12


def test_a_kill_between_the_table_and_the_folder_doubles_nothing(tmp_path, monkeypatch) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    work.add(paths(6))
    do(work)
    monkeypatch.setattr(work, "_clear", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work.finish()
    assert len(table(out)) == 6
    assert work.folder.exists()
    work.close()  # as the end of a process does
    again = Work(out, HOW, LABELS)
    assert again.add(paths(8)) == 8
    assert again.done() == 6
    do(again)
    again.finish()
    assert [each["path"] for each in table(out)] == paths(8)


@pytest.mark.parametrize("step", range(9))
def test_a_kill_at_any_step_of_the_end_loses_and_doubles_nothing(tmp_path, monkeypatch, step):
    """Broken off after so many of the renamings, removals and closings of ``finish``."""
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    work.add(paths(10))
    do(work)
    left = [step]

    def counted(whole):
        def call(*arguments, **choices):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return whole(*arguments, **choices)

        return call

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        for name in ("replace", "unlink", "rmdir"):
            patched.setattr(Path, name, counted(getattr(Path, name)))
        work.finish()
    work.close()  # as the end of a process does
    again = Work(out, HOW, LABELS)
    assert again.add(paths(12)) == 12
    do(again)
    again.finish()
    assert [each["path"] for each in table(out)] == paths(12)
    assert [*tmp_path.iterdir()] == [out]


def test_who_comes_while_another_ends_begins_anew(tmp_path, monkeypatch) -> None:
    """Before the folder is gone nobody gets into it; afterwards there is a new one."""
    out, seen = tmp_path / "out.parquet", []
    work = Work(out, HOW, LABELS)
    work.add(paths(4))
    do(work)
    clear = work._clear

    def clearing() -> None:
        with pytest.raises(BatchError, match="another process works on it"):
            Work(out, HOW, LABELS)
        clear()
        seen.append(True)

    monkeypatch.setattr(work, "_clear", clearing)
    work.finish()
    assert seen
    again = Work(out, HOW, LABELS)
    assert again.add(paths(6)) == 6
    do(again)
    again.finish()
    assert [each["path"] for each in table(out)] == paths(6)


def test_a_lock_of_a_file_that_is_gone_is_none(tmp_path, monkeypatch) -> None:
    """Opened while its owner had it, locked after the owner has removed it."""
    out = tmp_path / "out.parquet"
    first = Work(out, HOW, LABELS)
    lock = batch_work.fcntl.flock

    def late(*arguments) -> None:
        monkeypatch.setattr(batch_work.fcntl, "flock", lock)
        first.finish()
        lock(*arguments)

    monkeypatch.setattr(batch_work.fcntl, "flock", late)
    second = Work(out, HOW, LABELS)
    with pytest.raises(BatchError, match="another process works on it"):
        Work(out, HOW, LABELS)
    second.finish()


def test_rows_of_other_files_are_refused(tmp_path) -> None:
    work = Work(tmp_path / "out.parquet", HOW, LABELS)
    work.add(paths(4))
    chunk = next(work.missing())
    for wrong in (paths(3), paths(4)[::-1], paths(5)):
        with pytest.raises(BatchError, match="not the rows of its files"):
            work.write(chunk, [row(path) for path in wrong])
    with pytest.raises(BatchError, match="is not done yet"):
        work.finish()


@pytest.mark.parametrize("finished", [False, True])
def test_rows_that_are_made_otherwise_do_not_come_into_one_table(tmp_path, finished: bool) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    work.add(paths(4))
    do(work)
    work.finish() if finished else work.close()
    with pytest.raises(BatchError, match=r"made otherwise \(modality, model\)"):
        Work(out, {"model": "another", "modality": "v"}, LABELS)
    Work(out, HOW, LABELS).finish()
    assert len(table(out)) == 4


def test_where_no_row_was_made_a_mistake_is_taken_back(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    wrong = Work(out, HOW | {"modality": "v"}, LABELS)
    wrong.add(paths(3))
    wrong.close()
    work = Work(out, HOW, LABELS)
    assert work.add(paths(4)) == 4
    do(work)
    work.finish()
    assert [each["path"] for each in table(out)] == paths(4)


def test_what_was_named_before_is_done_though_no_row_was_made(tmp_path) -> None:
    first = Work(tmp_path / "out.parquet", HOW, LABELS)
    first.add(paths(3))
    first.close()
    assert Work(tmp_path / "out.parquet", HOW, LABELS).add(["other.mp4"]) == 4


def test_what_no_batch_wrote_is_kept(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    pq.write_table(pa.table({"path": ["a"]}), out)
    before = out.read_bytes()
    with pytest.raises(BatchError, match="no batch wrote it"):
        Work(out, HOW, LABELS)
    assert out.read_bytes() == before
    assert [*tmp_path.iterdir()] == [out]
    out.write_bytes(b"text")
    with pytest.raises(BatchError, match="no batch wrote it"):
        Work(out, HOW, LABELS)
    out.unlink()
    mine = tmp_path / "out.parquet.work" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(BatchError, match=r"mine\.txt is not a batch's"):
        Work(out, HOW, LABELS)
    assert mine.read_text() == "mine"


def test_two_do_not_work_on_one_table(tmp_path) -> None:
    work = Work(tmp_path / "out.parquet", HOW, LABELS)
    with pytest.raises(BatchError, match="another process works on it"):
        Work(tmp_path / "out.parquet", HOW, LABELS)
    work.close()
    Work(tmp_path / "out.parquet", HOW, LABELS).close()


def test_names_that_are_no_utf8(tmp_path) -> None:
    out, odd = tmp_path / "out.parquet", "\udcff.mp4"
    work = Work(out, HOW, LABELS)
    work.add([odd])
    assert [chunk.paths for chunk in work.missing()] == [(odd,)]
    do(work)
    work.finish()
    assert [each["path"] for each in table(out)] == [text(odd)] == [r"\udcff.mp4"]
    again = Work(out, HOW, LABELS)
    assert again.add([odd]) == 1
    assert list(again.missing()) == []


def test_many_files_make_few_groups_of_rows(tmp_path) -> None:
    out = tmp_path / "out.parquet"
    work = Work(out, HOW, LABELS)
    many = paths(1000)
    np.random.default_rng(0).shuffle(many)
    work.add(many)
    do(work)
    work.finish()
    with pq.ParquetFile(out) as file:
        assert file.num_row_groups == 1
        assert json.loads(file.schema_arrow.metadata[b"claip_emo"])["how"] == HOW
    assert [each["path"] for each in table(out)] == many
