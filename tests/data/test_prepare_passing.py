"""What goes wrong while clips are prepared, and may go well the next time, is not kept."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from multiprocessing import Value
from pathlib import Path

import pytest
from av.error import FFmpegError, err_check

import claip_emo.data.content as content
import claip_emo.data.prepare as prepare_module
import claip_emo.data.prepare_clip as prepare_clip
from claip_emo.data.cache import ClipCache
from claip_emo.data.prepare import prepare
from claip_emo.data.shards import Claims
from claip_emo.media.container import open_media
from claip_emo.media.decode import MediaError

from .detectors import SPEC
from .prepared import broken, film, made, sample, shards


def between(monkeypatch: pytest.MonkeyPatch, happens) -> None:
    """Let something happen after clips were looked at and before they are decoded."""
    do = prepare_module._Work.do

    def later(self, tasks) -> None:
        if tasks:
            happens()
        do(self, tasks)

    monkeypatch.setattr(prepare_module._Work, "do", later)


def prepare_here(cache: ClipCache, clips) -> tuple[set[str], dict[str, str]]:
    """Prepare clips in this process, where it can be hindered."""
    cache.look(clips)
    worker = prepare_clip.Worker(cache, threading.Event(), Value("l", 0), [-1], 0)
    made_now, failed, _ = worker.make(list(enumerate(prepare_module._tasks(cache, clips, {}))))
    for shelf in cache.shelves.values():
        shelf.refresh()
    return made_now, failed


def test_a_file_that_is_away_for_a_while_is_tried_again(tmp_path, monkeypatch) -> None:
    clip, away = film(tmp_path / "a.mkv", 20, 0.5, codec="ffv1"), tmp_path / "away"
    between(monkeypatch, lambda: clip.path.rename(away))
    _, done = made(tmp_path / "cache", [clip])
    monkeypatch.undo()
    assert "no longer be read" in done.failed[clip.id]
    assert "tries it again" in done.failed[clip.id]
    assert (done.made, shards(tmp_path / "cache")) == (0, set())
    away.rename(clip.path)
    _, done = made(tmp_path / "cache", [clip])
    assert (done.made, done.failed) == (1, {})


def test_a_file_that_is_replaced_meanwhile_is_not_taken_for_the_old_one(
    tmp_path, monkeypatch
) -> None:
    clip, other = film(tmp_path / "a.mkv", 20, codec="ffv1"), film(tmp_path / "b.mkv", 40)
    kept = shutil.copy(clip.path, tmp_path / "kept.mkv")
    between(monkeypatch, lambda: shutil.copy(other.path, clip.path))
    _, done = made(tmp_path / "cache", [clip])
    monkeypatch.undo()
    assert "changed meanwhile" in done.failed[clip.id]
    cache, done = made(tmp_path / "cache", [clip, sample(Path(kept))])
    assert done.made == 2
    assert cache.recording(clip).frames.shape[0] == 40
    assert cache.recording(sample(Path(kept))).frames.shape[0] == 20


def failing(number: int):
    """Open files as a process does that may not open another one, and the like."""

    def open_source(path: Path, **_: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            error = OSError(number, os.strerror(number))
            patch.setattr("av.open", lambda *a, **k: (_ for _ in ()).throw(error))
            open_media(str(path))

    return open_source


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.EIO, errno.ENOMEM])
def test_what_the_machine_could_not_do_is_no_fault_of_the_file(
    tmp_path, monkeypatch, number
) -> None:
    clip = film(tmp_path / "a.mkv", 20, 0.5, codec="ffv1")
    cache = ClipCache(tmp_path / "cache", SPEC, None)
    monkeypatch.setattr(prepare_clip, "open_source", failing(number))
    made_now, failed = prepare_here(cache, [clip])
    assert not made_now
    assert os.strerror(number) in failed[cache.digest(clip)]
    assert cache.problem(clip) is None
    monkeypatch.undo()
    assert made(tmp_path / "cache", [clip])[1].made == 1


@pytest.mark.parametrize(
    ("number", "passes"), [(errno.EMFILE, True), (errno.EIO, False), (errno.EINVAL, False)]
)
def test_a_decoder_says_some_things_of_the_machine_and_some_of_the_file(number, passes) -> None:
    with pytest.raises(FFmpegError) as caught:
        err_check(-number)
    error = MediaError("a.mp4: this cannot be read")
    error.__cause__ = caught.value
    assert prepare_clip._passes(error) is passes
    assert not prepare_clip._passes(MediaError("a.mp4: the file is empty (0 bytes)."))


def test_damage_is_kept_only_of_a_file_that_can_be_read_to_its_end(tmp_path, monkeypatch) -> None:
    """A disk that goes away looks to a decoder like a file that was cut off."""
    cut = film(tmp_path / "a.mkv", 60)
    cut.path.write_bytes(cut.path.read_bytes()[: cut.path.stat().st_size * 2 // 3])
    clips = [cut, broken(tmp_path / "b.mp4")]
    cache = ClipCache(tmp_path / "cache", SPEC, None)
    cache.look(clips)

    def unreadable(stats: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(prepare_clip, "changed", hindered(patch, unreadable))
        made_now, failed = prepare_here(cache, clips)
    assert not made_now
    assert all("Input/output error" in failed[cache.digest(clip)] for clip in clips)
    assert not shards(tmp_path / "cache")
    made_now, failed = prepare_here(cache, clips)
    assert (len(made_now), failed) == (2, {})
    assert cache.recording(cut).warnings


def hindered(patch: pytest.MonkeyPatch, digest):
    """Look at files again when they cannot be read any more."""
    look = content.changed

    def changed(*given, **how):
        patch.setattr(content, "_digest", digest)
        return look(*given, **how)

    return changed


HOLD = """
import sys
from pathlib import Path
from claip_emo.data.shards import Claims

claims = Claims(Path(sys.argv[1]))
assert claims.take(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_claim_lasts_until_it_is_given_back_or_its_process_dies(tmp_path) -> None:
    one, other = "0f" * 20, "1f" * 20
    holding = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), one],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holding.stdout.readline() == "held\n"
    claims = Claims(tmp_path)
    assert not claims.take(one)
    assert claims.take(other)
    holding.kill()
    holding.wait()
    assert claims.take(one)
    claims.release()


def test_where_nothing_can_be_locked_every_claim_is_granted(tmp_path) -> None:
    (tmp_path / "file").touch()
    claims = Claims(tmp_path / "file")
    assert claims.take("0f" * 20)
    claims.release()


def test_a_damaged_shard_that_must_stay_is_passed_over(tmp_path, monkeypatch, caplog) -> None:
    clips = [film(tmp_path / "a.mkv", 20, 0.5, codec="ffv1")]
    made(tmp_path / "cache", clips)
    whole = ClipCache(tmp_path / "cache", SPEC, None)
    whole.look(clips)
    for shard in shards(tmp_path / "cache"):
        shard.write_bytes(shard.read_bytes()[:-100])

    def read_only(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    before = shards(tmp_path / "cache")
    cache = ClipCache(tmp_path / "cache", SPEC, None)
    cache.look(clips)
    cache.look(clips)
    assert cache.recording(clips[0]) is None
    assert caplog.text.count("cannot be renamed (Read-only file system)") == 2  # once each
    assert shards(tmp_path / "cache") == before
    monkeypatch.undo()
    assert prepare(cache, clips, workers=1).made == 1
