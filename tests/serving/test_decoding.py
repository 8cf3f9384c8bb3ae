"""Processes that decode: lost, late, greedy or lying, each costs one request; it sees one file."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference.predictor import load_predictor
from claip_emo.inference.reading_jobs import WorkerRefusedError, clip_job
from claip_emo.inference.workers import Worker
from claip_emo.media.clip import Clip
from claip_emo.model.checkpoint_folder import packaged
from claip_emo.serving.folder import Folder
from claip_emo.serving.service import service

from ..conftest import SHARED
from ..media.make_media import ramp, tone, write
from ..processes import gone, is_there
from .client import form, head
from .conftest import LIMITS, served
from .test_sandbox import has_landlock

YUNET = SHARED / "models/yunet_2026may.onnx"


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
        assert [*made.uploads.iterdir()] == []


def test_what_is_no_answer_is_not_taken_from_a_process(recognizer, both, monkeypatch) -> None:
    """A decoder that was taken over may say anything: it costs its own request, not the server."""
    with served(recognizer, replace(LIMITS, workers=1)) as (client, _, _):
        broken = [Clip("a", None, None, (), spans, 1.0) for spans in ((("x",),), ([],))]
        wrong = [(said, 503) for said in (5, {"a": 1}, None)]
        for said, status in [*wrong, *((clip, 500) for clip in broken)]:
            with monkeypatch.context() as patched:
                patched.setattr(Worker, "ask", lambda *_, said=said: said)
                assert client.post(both).status == status
            assert client.post(both).status == 200
        counted = client.get("/metrics").body.decode()
        assert 'requests_total{route="/v1/predict",status="500"} 2.0' in counted
        assert 'status="0"' not in counted


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
                (made.uploads, "refused"),
            ):
                path = box / "upload"
                path.write_bytes(both.read_bytes())
                try:
                    found = "read" if one.ask(clip_job(path, "av")).has_video else "nothing"
                except WorkerRefusedError:
                    found = "refused"
                path.unlink()
                assert found == status


def test_a_process_that_is_lost_while_it_starts_is_made_up_for(recognizer) -> None:
    with service(recognizer, replace(LIMITS, workers=1)) as made:
        (pid,) = made.pids
        os.kill(pid, signal.SIGKILL)
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


def test_no_process_and_no_folder_remains(recognizer, both, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with served(recognizer) as (client, made, _):
        assert client.post(both).status == 200
        pids = made.pids
        assert all(map(is_there, pids))
        assert len([*tmp_path.iterdir()]) == 1
    assert not any(map(is_there, pids))
    assert [*tmp_path.iterdir()] == []
