"""A clip is what its files hold."""

import os
from pathlib import Path

import pytest

import claip_emo.data.content as content
from claip_emo.data.content import Content, Digests, changed


def digest(path: Path, audio_path: Path | None = None) -> str:
    found = Digests(path.parent / "unused").find([(path, audio_path)])[path, audio_path]
    assert isinstance(found, Content)
    return found.digest


def frames(folder: Path, *contents: bytes) -> Path:
    folder.mkdir()
    for index, held in enumerate(contents):
        (folder / f"{index}.jpg").write_bytes(held)
    return folder


def old(path: Path) -> Path:
    """Last written an hour ago."""
    before = path.stat().st_mtime - 3600
    os.utime(path, (before, before))
    return path


def test_the_name_of_a_file_does_not_matter_and_its_content_does(tmp_path) -> None:
    one, same, other = (tmp_path / name for name in "abc")
    one.write_bytes(b"x" * 3_000_000)
    same.write_bytes(b"x" * 3_000_000)
    other.write_bytes(b"x" * 2_999_999 + b"y")
    assert digest(one) == digest(same) != digest(other)
    assert digest(one, other) not in (digest(one), digest(one, same))


def test_a_folder_is_its_names_and_bytes_and_the_sound_beside_it(tmp_path) -> None:
    one = frames(tmp_path / "one", b"a", b"b")
    known = digest(one)
    assert known == digest(frames(tmp_path / "same", b"a", b"b"))
    others = [frames(tmp_path / "2", b"b", b"a"), frames(tmp_path / "3", b"ab", b"")]
    assert known not in map(digest, others)
    (one / "notes.txt").write_text("no part of the clip")
    assert digest(one) == known
    sound = tmp_path / "one.wav"
    sound.write_bytes(b"s")
    beside = digest(one)
    assert beside != known
    assert digest(one, sound) == digest(tmp_path / "same", sound) != beside
    (one / "1.jpg").rename(one / "10.jpg")
    assert digest(one) != beside


def test_files_are_read_once_for_as_long_as_they_stay(tmp_path, monkeypatch) -> None:
    clip = (old(frames(tmp_path / "one", b"a") / "0.jpg").parent, None)
    memory = tmp_path / "digests.txt"
    first = Digests(memory).find([clip])
    monkeypatch.setattr(content, "_digest", lambda files: pytest.fail("read again"))
    assert Digests(memory).find([clip]) == first
    monkeypatch.undo()
    file = clip[0] / "0.jpg"
    before = file.stat().st_mtime_ns
    file.write_bytes(b"b")
    os.utime(file, ns=(before + 1, before + 1))
    assert Digests(memory).find([clip]) != first


def test_what_was_written_just_now_is_not_taken_for_settled(tmp_path) -> None:
    """Within one tick of the file system's clock another content may follow, of the same size."""
    clip = tmp_path / "a"
    clip.write_bytes(b"a")
    stamp = clip.stat().st_mtime_ns
    first = Digests(tmp_path / "digests.txt").find([(clip, None)])
    clip.write_bytes(b"b")
    os.utime(clip, ns=(stamp, stamp))
    assert Digests(tmp_path / "digests.txt").find([(clip, None)]) != first


def test_a_torn_memory_is_passed_over(tmp_path, monkeypatch) -> None:
    clips = []
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
        clips.append((old(tmp_path / name), None))
    memory = tmp_path / "digests.txt"
    found = Digests(memory).find(clips[:2])
    memory.write_bytes(memory.read_bytes()[:-20])  # a kill in the middle of the last line
    found |= Digests(memory).find(clips[2:])
    read: list[int] = []
    digest_of = content._digest
    monkeypatch.setattr(content, "_digest", lambda files: read.append(1) or digest_of(files))
    assert Digests(memory).find(clips) == found
    assert len(read) == 1  # the torn one; what came after it is whole


def test_a_missing_file_is_told(tmp_path) -> None:
    gone = (tmp_path / "gone.mp4", None)
    told = []
    found = Digests(tmp_path / "d").find([gone], progress=lambda *state: told.append(state))
    assert isinstance(found[gone], FileNotFoundError)
    assert told == [(1, 1)]


def test_what_happened_to_a_clip_since_is_told(tmp_path, monkeypatch) -> None:
    clip = (old(frames(tmp_path / "one", b"a", b"b") / "0.jpg").parent, None)
    seen = Digests(tmp_path / "d").find([clip])[clip]
    assert changed(clip, seen) is None
    assert changed(clip, seen, read=True) is None
    monkeypatch.setattr(content, "_digest", lambda stats: "other")
    assert changed(clip, seen) is None
    assert changed(clip, seen, read=True) == "it changed meanwhile"
    monkeypatch.undo()
    os.utime(clip[0] / "1.jpg")
    assert changed(clip, seen) == "it changed meanwhile"
    file = (tmp_path / "one" / "0.jpg", None)
    seen = Digests(tmp_path / "d").find([file])[file]
    file[0].unlink()
    assert "can no longer be read (No such file" in changed(file, seen)


def test_where_nothing_can_be_written_clips_are_found_all_the_same(tmp_path, caplog) -> None:
    clip = tmp_path / "a"
    clip.write_bytes(b"a")
    old(clip)
    (tmp_path / "file").touch()
    memory = tmp_path / "file" / "digests.txt"  # no folder, so that root cannot write it either
    for _ in range(2):
        assert isinstance(Digests(memory).find([(clip, None)])[clip, None], Content)
    assert caplog.text.count("digests.txt cannot be written") == 1


def test_a_file_and_its_folder_are_two_clips_when_seen_again(tmp_path) -> None:
    folder = tmp_path / "single"
    folder.mkdir()
    sound = folder / "a.wav"
    sound.write_bytes(b"sound")
    old(sound)
    clips = [(sound, None), (folder, None)]
    memory = tmp_path / "digests.txt"

    first = Digests(memory).find(clips)
    again = Digests(memory).find(clips)

    assert first == again
    assert first[clips[0]] != first[clips[1]]
