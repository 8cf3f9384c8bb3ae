"""Hostile senders and files: each gets its code, the next request works, nothing remains."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.hostile import mutated

from claip_emo import EmotionRecognizer
from claip_emo.inference.predictor import load_predictor
from claip_emo.inference.reading_jobs import WorkerLostError, WorkerRefusedError, clip_job
from claip_emo.inference.workers import Worker
from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import packaged
from claip_emo.serving import uploads
from claip_emo.serving.decoding import _Request
from claip_emo.serving.folder import Folder
from claip_emo.serving.service import service

from ..conftest import SHARED
from ..media.make_media import ramp, tone, write
from ..processes import gone, is_there
from .client import BOUNDARY, form, head, heard
from .conftest import LIMITS, served
from .test_sandbox import has_landlock

FUZZED = 50  # a twentieth of what the whole trial has
YUNET = SHARED / "models/yunet_2026may.onnx"
ALLOWED = {200, 400, 413, 415, 503, 504}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    frames, sound = ramp(12, 48, 64), tone(0.5)
    paths = [
        write(folder / "a.mp4", frames, sound),
        write(folder / "b.webm", frames),
        write(folder / "c.wav", None, sound),
        write(folder / "d.mkv", frames, sound),
        write(folder / "e.avi", frames, sound),
        write(folder / "f.flac", None, sound),
    ]
    return [path.read_bytes() for path in paths]


def test_mutated_files_get_an_answer_each(client, server, both, originals) -> None:
    rng, seen = random.Random(0), []
    for number in range(FUZZED):
        answer = client.post(mutated(originals[number % len(originals)], rng))
        seen.append(answer.status)
        assert answer.status in ALLOWED, answer.body
        if answer.status != 200:
            assert answer.code
    assert {200, 400} <= {*seen}
    assert client.post(both).status == 200
    assert sum(map(is_there, server[1].pids)) == LIMITS.workers


@pytest.mark.parametrize("route", ["predict", "timeline"])
def test_a_process_that_is_killed_is_503_and_the_next_request_works(recognizer, tmp_path, route):
    slow = write(tmp_path / "slow.mp4", ramp(400, 240, 320), tone(16.0))
    with served(recognizer, replace(LIMITS, workers=1)) as (client, made, _):
        (pid,) = made.pids
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
        answer = client.post(slow, route)
        assert (answer.status, answer.code) == (503, "worker_lost")
        assert answer.headers["retry-after"] == "1"
        assert client.post(slow, route).status == 200
        assert "claip_emo_workers_lost_total 1.0" in client.get("/metrics").body.decode()


def test_a_file_that_takes_too_long_is_504(recognizer, both) -> None:
    with served(recognizer, replace(LIMITS, workers=1, predict_s=0.5)) as (client, made, _):
        (pid,) = made.pids
        os.kill(pid, signal.SIGSTOP)
        answer = client.post(both)
        assert (answer.status, answer.code) == (504, "over_time")
        assert client.post(both).status in (200, 504)
        assert gone(pid)


def test_a_file_that_takes_too_much_computing_is_504(recognizer, tmp_path) -> None:
    """Many small pictures, each in which faces are sought."""
    bomb = write(tmp_path / "bomb.mp4", ramp(1500, 240, 240), fps=250)
    with served(recognizer, replace(LIMITS, workers=1, cpu_s=1, timeline_s=60)) as (client, _, _):
        answer = client.post(bomb, "timeline", window="0.1", hop="0.1")
        assert (answer.status, answer.code) == (504, "over_time")


def test_a_file_that_takes_too_much_memory_ends_at_most_its_process(recognizer, tmp_path, both):
    limits = replace(
        LIMITS, workers=1, memory_bytes=500 * 2**20, max_pixels=10**9, max_side_px=30_000,
        max_bytes=10**8,
    )  # fmt: skip
    frames = np.zeros((1, 9000, 9000, 3), np.uint8)
    bomb = write(tmp_path / "bomb.png", frames, codec="png", options={"update": "1"})
    with served(recognizer, limits) as (client, made, _):
        assert bomb.stat().st_size < 2_000_000
        answer = client.post(bomb)
        assert answer.status in (400, 413, 503), answer.body
        assert peak_mib(made.pids) < 600
        assert client.post(both).status == 200


def peak_mib(pids) -> float:
    """The most memory that a process had."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids if is_there(pid)]
    return max(int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024 for text in texts)


def test_an_upload_without_an_end_is_cut(client, server) -> None:
    before = server[1].metrics.in_flight._value.get()
    with client.raw() as connection:
        connection.sendall(head(None))
        start = form(b"\x1aE\xdf\xa3" + bytes(1000)).partition(
            b"\r\n--" + BOUNDARY.encode() + b"--"
        )[0]
        connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        block = bytes(100_000)
        sent = 0
        try:
            while sent < 50 * LIMITS.max_bytes:
                connection.sendall(b"%x\r\n%s\r\n" % (len(block), block))
                sent += len(block)
                if waits(connection):
                    break
        except OSError:
            pass
        answer = heard(connection)
    assert (answer.status, answer.code) == (413, "too_large")
    assert sent < 10 * LIMITS.max_bytes
    assert server[1].metrics.in_flight._value.get() == before


def waits(connection: socket.socket) -> bool:
    """Whether something has come."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.setblocking(True)


def test_a_large_upload_is_refused_before_it_comes(client) -> None:
    with client.raw() as connection:
        expecting = head(10 * LIMITS.max_bytes).replace(
            b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(expecting)
        begun = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.code) == (413, "too_large")
    assert time.monotonic() - begun < 2


def test_a_slow_upload_is_given_up(client) -> None:
    with client.raw() as connection:
        connection.sendall(head(5000) + form(b"\x1aE\xdf\xa3" + bytes(1000))[:500])
        begun = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.code) == (408, "upload_timeout")
    assert LIMITS.upload_s - 0.1 < time.monotonic() - begun < LIMITS.upload_s + 5


def test_an_upload_that_breaks_off_leaves_nothing(client, server) -> None:
    for _ in range(5):
        with client.raw() as connection:
            connection.sendall(head(50_000) + form(b"\x1aE\xdf\xa3" + bytes(9000))[:5000])
    until = time.monotonic() + 5
    while server[1].metrics.in_flight._value.get() and time.monotonic() < until:
        time.sleep(0.01)
    assert server[1].metrics.in_flight._value.get() == 0


def test_a_full_disk_is_told_and_does_not_last(client, both, monkeypatch) -> None:
    class Full:
        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    whole = uploads._Form.__init__

    def full(form, upload, boundary, _, *others) -> None:
        whole(form, upload, boundary, Full(), *others)

    monkeypatch.setattr(uploads._Form, "__init__", full)
    answer = client.post(both)
    assert (answer.status, answer.code) == (503, "no_room")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert client.post(both).status == 200


def test_too_many_at_once_are_told_to_come_again(client, server, both) -> None:
    """Slow uploads fill the waiting room; who comes then is refused, and is served afterwards."""
    most = LIMITS.workers + LIMITS.waiting
    body = form(both.read_bytes())
    held = []
    try:
        for _ in range(most):
            connection = client.raw()
            connection.sendall(head(len(body)) + body[:1000])
            held.append(connection)
        until = time.monotonic() + 5
        while server[1].metrics.in_flight._value.get() < most and time.monotonic() < until:
            time.sleep(0.01)
        answer = client.post(both)
        assert (answer.status, answer.code) == (429, "busy")
        assert answer.headers["retry-after"] == "1"
        for connection in held:
            connection.sendall(body[1000:])
        assert [heard(connection).status for connection in held] == [200] * most
    finally:
        for connection in held:
            connection.close()
    assert client.post(both).status == 200


@pytest.mark.parametrize("route", ["/v1/predict", "/v1/timeline", "/page/look"])
def test_who_leaves_does_not_keep_a_process_busy(recognizer, both, route) -> None:
    with served(recognizer, replace(LIMITS, workers=1), page="A model.") as (client, made, _):
        (pid,) = made.pids
        os.kill(pid, signal.SIGSTOP)  # it would never be done
        body = form(both.read_bytes())
        with client.raw() as connection:
            connection.sendall(head(len(body)).replace(b"/v1/predict", route.encode()) + body)
            time.sleep(0.5)
        assert gone(pid, within_s=3)
        assert client.post(both).status == 200
        assert [*made.folder.iterdir()] == []


def test_what_is_no_answer_is_not_taken_from_a_process(recognizer, both, monkeypatch) -> None:
    """A decoder that was taken over may say anything: it costs its own request, not the server."""
    with served(recognizer, replace(LIMITS, workers=1)) as (client, _, _):
        broken = Clip("a", None, None, (), (("x",),), 1.0)
        for said, status in ((5, 503), ({"a": 1}, 503), (None, 503), (broken, 500)):
            with monkeypatch.context() as patched:
                patched.setattr(Worker, "ask", lambda *_, said=said: said)
                assert client.post(both).status == status
            assert client.post(both).status == 200
        counted = client.get("/metrics").body.decode()
        assert 'requests_total{route="/v1/predict",status="500"} 1.0' in counted
        assert 'status="0"' not in counted


def test_who_gives_up_ends_its_own_process_and_no_other() -> None:
    class Counting:
        killed = 0

        def kill(self) -> None:
            self.killed += 1

    worker, request = Counting(), _Request()
    with request.by(worker):
        pass
    request.give_up()  # it works for others by now
    assert worker.killed == 0
    with pytest.raises(WorkerLostError, match="nobody waits"), request.by(worker):
        pytest.fail("nobody waits for it")
    request = _Request()
    with request.by(worker):
        request.give_up()
    assert worker.killed == 1


def test_every_thread_of_a_process_is_confined(recognizer, both) -> None:
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    with served(recognizer) as (client, made, _):
        for _ in range(4):
            assert client.post(both).status == client.post(both, "timeline").status == 200
        for pid in made.pids:
            threads = [*Path(f"/proc/{pid}/task").iterdir()]
            assert len(threads) > 1
            for thread in threads:
                assert "NoNewPrivs:\t1" in (thread / "status").read_text()


@pytest.mark.skipif(not YUNET.exists(), reason="no model file of YuNet here")
@pytest.mark.parametrize("named", ["as an option", "in the environment"])
def test_faces_are_found_in_a_sandbox(monkeypatch, named: str) -> None:
    """In all routes: timelines look for faces in a thread that begins after the sandbox has."""
    video = SHARED / "data/real/ravdess_01-01-01-01-01-01-01_neutral.mp4"
    options = {"face_model": YUNET}
    if named == "in the environment":
        options = {}
        monkeypatch.setenv("CLAIP_EMO_FACE_MODEL", str(YUNET))
    seeing = EmotionRecognizer(load_predictor(packaged()), face_detector="yunet", **options)
    roomy = replace(LIMITS, max_bytes=10_000_000, max_pixels=1280 * 720)
    with served(seeing, roomy) as (client, _, _):
        row, timeline = client.post(video), client.post(video, "timeline")
        assert (row.status, timeline.status) == (200, 200)
        assert row.json["face_rate"] > 0.9
        assert len(timeline.json["people"]) == 1


def test_a_process_reads_the_upload_it_is_given_and_no_other(recognizer, both) -> None:
    if not has_landlock():
        pytest.skip("this kernel has no Landlock")
    with served(recognizer) as (client, made, _):
        assert client.post(both).status == 200
        with made._decoding._workers.borrowed() as one, made._decoding._workers.borrowed() as other:
            for box, status in (
                (one.box, "read"),
                (other.box, "refused"),
                (made.folder, "refused"),
            ):
                path = box / "upload"
                path.write_bytes(both.read_bytes())
                try:
                    found = "read" if one.ask(clip_job(path, "av")).has_video else "nothing"
                except WorkerRefusedError:
                    found = "refused"
                path.unlink()
                assert found == status


def test_a_process_that_is_lost_while_it_starts_is_made_up_for(recognizer, both) -> None:
    with service(recognizer, LIMITS) as made:
        os.kill(made.pids[0], signal.SIGKILL)
        until = time.monotonic() + 20
        while not made.ready() and time.monotonic() < until:
            time.sleep(0.02)
        assert made.ready()


def test_what_a_killed_server_left_is_removed_and_others_folders_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    running, killed = Folder(), Folder()
    foreign = tmp_path / "claip-emo-serve-mine.parquet.work"
    foreign.mkdir()
    for name in ("lock", "serve.lock"):
        (foreign / name).touch()
    (killed.uploads / "upload").write_bytes(b"somebody's face")
    os.close(killed._lock)  # as the end of a process does
    new = Folder()
    assert {*tmp_path.iterdir()} == {running.path, foreign, new.path}
    assert new.path.stat().st_mode & 0o77 == 0
    new.close()
    running.close()
    assert {*tmp_path.iterdir()} == {foreign}


def test_many_at_once_are_scored_together_and_none_is_mixed_up(recognizer, tmp_path) -> None:
    files = [write(tmp_path / f"{n}.mp4", ramp(6 + n), tone(0.3 + 0.1 * n)) for n in range(8)]
    wanted = [recognizer(file).scores for file in files]
    with served(recognizer) as (client, _, _), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.post, files * 2))
        for answer, scores in zip(answers, wanted * 2, strict=True):
            assert answer.status in (200, 429)
            if answer.status == 200:
                assert answer.json["scores"] == pytest.approx(scores, abs=1e-5)
        assert sum(answer.status == 200 for answer in answers) >= 8


def test_no_process_and_no_folder_remains(recognizer, both, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with served(recognizer) as (client, made, _):
        assert client.post(both).status == 200
        pids = made.pids
        assert all(map(is_there, pids))
        assert len([*tmp_path.iterdir()]) == 1
    assert not any(map(is_there, pids))
    assert [*tmp_path.iterdir()] == []
