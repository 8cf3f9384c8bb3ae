"""What a process that decodes uploads cannot do: read, write, connect, grow, go on for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from claip_emo.media.container import MediaError
from claip_emo.serving import landlock, sandbox
from claip_emo.serving.decoding import warn_without_landlock
from claip_emo.serving.kinds import HEAD_BYTES, is_media
from claip_emo.serving.landlock import NETWORK_SINCE, SCOPED_SINCE, confine, version
from claip_emo.serving.sandbox import TooLargeError, look_first

from ..media.make_media import ramp, tone, write

LIMITS = {"max_pixels": 10_000, "max_side_px": 200, "max_duration_s": 2.0}
BEGIN = """
import sys, os, resource
from claip_emo.serving import sandbox
guard = sandbox.begin({
    "face_model": None,
    "limits": {"memory_bytes": %d, "cpu_s": 1.0, "max_pixels": 1e9, "max_side_px": 1e9,
               "max_duration_s": 1e9},
    "box": %r,
})
"""


def inside(folder: Path, code: str, memory: int = 2**31) -> subprocess.CompletedProcess:
    """Run something in a process that has given up what reading does not need."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN % (memory, str(folder)) + code],
        capture_output=True,
        text=True,
        timeout=60,
    )


def has_landlock() -> bool:
    return version() >= 1


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
class TestLandlock:
    """Where the kernel has Landlock."""

    def test_a_thread_that_was_there_before_would_keep_its_rights(self, tmp_path) -> None:
        early = BEGIN.replace(
            "guard =", "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nguard =",
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", early % (2**31, str(tmp_path))], capture_output=True, text=True
        )
        assert "RuntimeError: It has 2 threads before it is confined" in done.stderr

    def test_what_is_not_confined_does_not_begin(self, monkeypatch) -> None:
        monkeypatch.setattr(landlock, "confine", lambda _: False)
        monkeypatch.setattr(os, "listdir", lambda _: ["1"])
        with pytest.raises(RuntimeError, match="could not be confined"):
            sandbox._confine([])

    def test_only_uploads_and_libraries_can_be_read(self, tmp_path) -> None:
        uploads, others = tmp_path / "uploads", tmp_path / "others"
        for folder in (uploads, others):
            folder.mkdir()
            (folder / "a").write_text("secret")
        code = """
print(open(%r).read())
import json.tool
for path in (%r, "/etc/passwd", "/proc/self/environ", os.path.expanduser("~")):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path)
        print("read", path)
    except PermissionError:
        print("denied")
"""
        done = inside(uploads, code % (str(uploads / "a"), str(others / "a")))
        assert done.stdout.split() == ["secret", *["denied"] * 4], done.stderr

    def test_nothing_can_be_written(self, tmp_path) -> None:
        code = """
for path in (%r, "/tmp/of-the-sandbox", "/dev/shm/of-the-sandbox"):
    try:
        open(path, "w"); print("written", path)
    except OSError:
        print("denied")
"""
        done = inside(tmp_path, code % str(tmp_path / "new"))
        assert done.stdout.split() == ["denied"] * 3, done.stderr
        assert [*tmp_path.iterdir()] == []

    def test_no_connection_can_be_made(self, tmp_path) -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            code = f"""
import socket
try:
    socket.create_connection(("127.0.0.1", {listening.getsockname()[1]}), 5); print("connected")
except PermissionError:
    print("denied")
"""
            done = inside(tmp_path, code)
            if "connected" in done.stdout and version() < NETWORK_SINCE:
                pytest.skip("this kernel's Landlock knows no network")
            assert done.stdout.split() == ["denied"], done.stderr

    def test_no_other_process_can_be_signalled(self, tmp_path) -> None:
        code = """
try:
    os.kill(os.getppid(), 0); print("signalled")
except PermissionError:
    print("denied")
"""
        if version() < SCOPED_SINCE:
            pytest.skip("this kernel's Landlock knows no signals")
        assert inside(tmp_path, code).stdout.split() == ["denied"]

    def test_it_lasts(self, tmp_path) -> None:
        """What was given up cannot be taken back, neither here nor in a child."""
        code = """
from claip_emo.serving.landlock import confine
confine(["/"])
import subprocess
try:
    open("/etc/passwd"); print("read")
except PermissionError:
    print("denied")
done = subprocess.run([sys.executable, "-c", "open('/etc/passwd')"], stderr=subprocess.PIPE)
print("denied" if b"PermissionError" in done.stderr else "read")
"""
        assert inside(tmp_path, code).stdout.split() == ["denied"] * 2


def test_files_that_are_written_have_no_length(tmp_path) -> None:
    """Also where there is no Landlock: the limit of the kernel for files."""
    code = """
print(resource.getrlimit(resource.RLIMIT_FSIZE), resource.getrlimit(resource.RLIMIT_CORE))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 64)
"""
    assert inside(tmp_path, code).stdout.split("\n")[:2] == ["(0, 0) (0, 0)", "True"]


def test_memory_has_a_limit(tmp_path) -> None:
    code = """
import numpy
try:
    numpy.ones(10**9, numpy.uint8); print("had")
except MemoryError:
    print("refused")
"""
    assert inside(tmp_path, code, 6 * 10**8).stdout.split() == ["refused"]


def test_every_file_has_its_own_second(tmp_path) -> None:
    clip = write(tmp_path / "a.mp4", ramp(3))
    code = f"""
import time
def compute(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
for _ in range(3):
    with guard({{"path": {str(clip)!r}}}):
        compute(0.7)
    print("done", flush=True)
with guard({{"path": {str(clip)!r}}}):
    compute(5)
print("not reached")
"""
    done = inside(tmp_path, code)
    assert done.stdout.split() == ["done"] * 3
    assert done.returncode == -24  # SIGXCPU


def test_headers_are_looked_at_first(tmp_path) -> None:
    good = write(tmp_path / "good.mp4", ramp(20, 64, 64), tone(0.8))
    look_first(str(good), LIMITS)
    for name, media, says in (
        ("wide.mp4", {"frames": ramp(3, 16, 224)}, "224 x 16 px"),
        ("large.mp4", {"frames": ramp(3, 128, 128)}, "128 x 128 px"),
        ("long.mp4", {"frames": ramp(60)}, "at most 2 s"),
        ("long.wav", {"sound": tone(3.0)}, "at most 2 s"),
    ):
        path = write(tmp_path / name, **media)
        with pytest.raises(TooLargeError, match=says):
            look_first(str(path), LIMITS)
    (tmp_path / "no.mp4").write_bytes(b"no media" * 20)
    with pytest.raises(MediaError):
        look_first(str(tmp_path / "no.mp4"), LIMITS)


def test_a_header_that_lies_is_found_out(tmp_path) -> None:
    """A WebM that says it lasts a second, and has packets for three."""
    path = write(tmp_path / "lies.webm", ramp(75))
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in ms
    data[place : place + 8] = bytes.fromhex("408f400000000000")
    path.write_bytes(bytes(data))
    with pytest.raises(TooLargeError, match=r"lasts 3 s; at most 2 s"):
        look_first(str(path), LIMITS)


def test_where_there_is_no_landlock_it_says_so(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert version() == 0
    assert confine(["/"]) is False


@pytest.mark.parametrize(("offered", "warns"), [(0, True), (-1, True), (1, False)])
def test_a_server_without_landlock_says_what_that_means(
    monkeypatch, caplog, offered: int, warns: bool
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: offered)
    warn_without_landlock()
    assert (["no Landlock" in each.message for each in caplog.records] == [True]) is warns


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.mp4", {"frames": ramp(3)}), ("a.mov", {"frames": ramp(3)}),
        ("a.mkv", {"frames": ramp(3)}), ("a.webm", {"frames": ramp(3)}),
        ("a.avi", {"frames": ramp(3)}), ("a.wav", {"sound": tone(0.2)}),
        ("a.flac", {"sound": tone(0.2)}), ("a.mp3", {"sound": tone(0.2)}),
        ("a.ogg", {"sound": tone(0.2)}), ("a.m4a", {"sound": tone(0.2)}),
    ],
)  # fmt: skip
def test_media_begin_as_media_do(tmp_path, name: str, media: dict) -> None:
    assert is_media(write(tmp_path / name, **media).read_bytes()[:HEAD_BYTES])


@pytest.mark.parametrize(
    "head",
    [b"", b"\0" * 16, b"hello world, this", b"%PDF-1.7\n1234567", b"PK\x03\x04" + bytes(12),
     b"\x7fELF" + bytes(12), b"<html><body>1234", b"#EXTM3U\n#EXT-X-", b"ffconcat version",
     b"\x80\x04\x95" + bytes(13), b"\xff\x00" + bytes(14), b"\xff\xd8"],
)  # fmt: skip
def test_other_files_do_not(head: bytes) -> None:
    assert not is_media(head)
