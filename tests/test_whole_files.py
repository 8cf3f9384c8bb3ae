"""Files that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from claip_emo.whole_files import write_text, written


def test_what_is_written_takes_the_place_of_the_former_at_once(tmp_path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"former")
    with written(path) as partial:
        assert (partial.parent, partial.suffix) == (tmp_path, ".mp4")
        partial.write_bytes(b"new")
        assert path.read_bytes() == b"former"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_the_former_and_nothing_else(tmp_path, error) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("former")

    def half(partial: Path) -> None:
        partial.write_text("ha")
        raise error

    with pytest.raises(type(error)), written(path) as partial:
        half(partial)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error_and_the_former_stays(tmp_path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("former")
    with pytest.raises(FileNotFoundError), written(path):
        pass
    assert path.read_text() == "former"


def test_the_disk_has_it_before_it_is_renamed(tmp_path, monkeypatch) -> None:
    path = tmp_path / "run.json"
    events = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(file: int) -> None:
        events.append(("synced", os.fstat(file).st_ino))
        sync(file)

    def noted_replace(old: Path, new: Path) -> None:
        events.append(("renamed", old.stat().st_ino))
        replace(old, new)

    monkeypatch.setattr("os.fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_text(path, "Zorn: Ärger\r\n")
    number = path.stat().st_ino
    assert events == [("synced", number), ("renamed", number)]
    assert path.read_bytes() == "Zorn: Ärger\r\n".encode()


def test_what_cannot_be_synced_is_not_there(tmp_path, monkeypatch) -> None:
    def broken(_) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_text(tmp_path / "run.json", "{}")
    assert not list(tmp_path.iterdir())
