"""Processes that read: what they read is what is read here, and one that dies is replaced."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference import workers as module
from claip_emo.inference.predictor import load_predictor
from claip_emo.inference.reading_jobs import (
    WorkerLostError,
    WorkerRefusedError,
    WorkerTimeError,
    answering,
    clip_job,
    timeline_job,
)
from claip_emo.inference.reading_setup import Setup
from claip_emo.inference.workers import Workers
from claip_emo.inference.workers_reader import WorkersReader
from claip_emo.media.clip import Clip
from claip_emo.media.faces import YuNet
from claip_emo.model.checkpoint_folder import packaged

from ..media.make_media import ramp, tone, write
from ..processes import gone, is_there
from .test_wire import same


@pytest.fixture(scope="module")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer(load_predictor(packaged()), face_detector="haar")


@pytest.fixture(scope="module")
def workers(recognizer):
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 2, None), 2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "both.mp4", ramp(40), tone(1.6))


def load(workers: Workers, path: Path, mask: str, timeout_s: float | None = None) -> Clip:
    """Read a file in one of the processes."""
    with workers.borrowed() as worker:
        return worker.ask(clip_job(path, mask), timeout_s)


@pytest.mark.parametrize("mask", ["av", "v", "a"])
def test_a_clip_is_the_one_that_is_read_here(recognizer, workers, both, mask: str) -> None:
    assert same(load(workers, both, mask), recognizer.reader.load(both, mask))


def test_a_timeline_is_the_one_that_is_made_here(recognizer, workers, both) -> None:
    told = []
    job = timeline_job(both, "av", window_s=1.0, hop_s=0.25, faces="all", limits={"av": 0.9})
    with workers.borrowed() as worker:
        found = worker.ask(
            job, None, answering(recognizer.predictor, lambda *done: told.append(done))
        )
    here = EmotionRecognizer(recognizer.predictor, face_detector="haar", abstain_below=0.9)
    wanted = here.timeline(both, window_s=1.0, hop_s=0.25, faces="all")
    assert found.to_dict() == wanted.to_dict()
    assert [done for done, _ in told] == sorted(done for done, _ in told), told
    assert told[-1][0] > 0.9 * told[-1][1] > 0


def test_a_sound_of_its_own_is_heard(recognizer, workers, tmp_path) -> None:
    mute = write(tmp_path / "mute.mp4", ramp(20))
    voice = write(tmp_path / "voice.wav", None, tone(0.8))
    here = EmotionRecognizer(recognizer.predictor, reader=recognizer.reader)
    here.reader = WorkersReader(recognizer.reader, workers)
    assert here.load(mute, audio=voice).has_audio
    assert here(mute, audio=voice) == recognizer(mute, audio=voice)


def test_what_cannot_be_read_is_told_as_here(recognizer, workers, tmp_path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    for path in (
        bad,
        tmp_path / "missing.mp4",
        write(tmp_path / "s.wav", None, np.zeros(9600, np.float32)),
    ):
        rows = list(recognizer.many([path]))
        with pytest.raises(WorkerRefusedError) as refused:
            load(workers, path, "av")
        assert str(refused.value) == rows[0].error


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT", "signal 40"])
def test_one_that_dies_is_told_and_replaced(workers, both, name: str) -> None:
    with workers.borrowed() as worker:
        worker.ask(clip_job(both, "av"))
        os.kill(worker.pid, getattr(signal, name, 40))
        with pytest.raises(WorkerLostError, match=name):
            worker.ask(clip_job(both, "av"))
    for _ in range(3):
        assert load(workers, both, "av").has_video


def test_one_that_takes_too_long_is_ended(workers, both) -> None:
    with workers.borrowed() as worker:
        worker.ask(clip_job(both, "av"))
        os.kill(worker.pid, signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(WorkerTimeError, match="longer than it may"):
            worker.ask(clip_job(both, "av"), timeout_s=0.3)
        assert time.monotonic() - begun < 5
        assert gone(worker.pid)
    assert load(workers, both, "av", timeout_s=60).has_audio


def test_who_makes_no_answer_loses_it(recognizer, workers, both) -> None:
    """A model that fails leaves the process waiting: it must not get the next job."""
    job = timeline_job(both, "av", window_s=1.0, hop_s=0.5, faces="main", limits=None)

    class Failing:
        def encode(self, *_):
            raise RuntimeError("the GPU is gone")

    with workers.borrowed() as worker, pytest.raises(RuntimeError, match="the GPU is gone"):
        worker.ask(job, None, answering(Failing()))
    assert gone(worker.pid)
    with workers.borrowed() as worker:
        assert worker.ask(job, None, answering(recognizer.predictor)).people


def test_only_parts_of_the_model_can_be_asked_for(recognizer) -> None:
    for said in ({"ask": "__class__", "given": ()}, {"ask": "config", "given": ()}, {"x": 1}):
        with pytest.raises(WorkerLostError, match="something unexpected"):
            answering(recognizer.predictor)(said)


def test_they_end_with_who_started_them(recognizer, both) -> None:
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 2, None), 2)
    with made.borrowed() as one, made.borrowed() as other:
        pids = one.pid, other.pid
        assert all(map(is_there, pids))
        one.ask(clip_job(both, "av"))
        threading.Timer(0.2, made.close).start()
        os.kill(other.pid, signal.SIGSTOP)
        with pytest.raises(WorkerLostError):
            other.ask(clip_job(both, "av"))
    assert all(map(gone, pids))
    with pytest.raises(WorkerLostError, match="were ended"):
        load(made, both, "av")


def failing(*_, **__):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_start_that_fails_costs_no_place(recognizer, both, monkeypatch) -> None:
    """As when there are too many processes for a moment."""
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 1, None), 1)
    start = subprocess.Popen
    load(made, both, "av")
    monkeypatch.setattr(module.subprocess, "Popen", failing)
    with made.borrowed() as worker:
        worker.kill()
    with pytest.raises(WorkerLostError, match=r"cannot start .*temporarily unavailable"):
        load(made, both, "av")
    monkeypatch.setattr(module.subprocess, "Popen", start)
    assert load(made, both, "av").has_video
    made.close()


def test_a_start_that_fails_leaves_no_box_and_is_told(
    recognizer, both, tmp_path, monkeypatch
) -> None:
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    setup = Setup.of(recognizer.predictor, recognizer.reader, 1, None)
    made = Workers(setup, 1, boxes=boxes)
    load(made, both, "av")
    with monkeypatch.context() as patched:
        patched.setattr(module.subprocess, "Popen", failing)
        with made.borrowed() as worker:
            worker.kill()
        assert [*boxes.iterdir()] == []
    boxes.rmdir()  # as where the disk is full: a box cannot be made
    with pytest.raises(WorkerLostError, match="no process that reads files starts"):
        load(made, both, "av")
    boxes.mkdir()
    assert load(made, both, "av").has_video
    made.close()
    assert [*boxes.iterdir()] == []


def test_the_face_model_is_passed_on_as_a_file(recognizer) -> None:
    """Also where nobody named it: a process in a sandbox does not look for it."""
    reader = copy.copy(recognizer.reader)
    reader.detector, reader.face_model = object.__new__(YuNet), None
    reader.detector.model_file = Path("/somewhere/yunet.onnx")
    setup = Setup.of(recognizer.predictor, reader, 1, None)
    assert (setup.face_detector, setup.face_model) == ("yunet", "/somewhere/yunet.onnx")


def test_tokens_are_not_passed_on(recognizer, both, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CLAIP_EMO_FACE_MODEL", "/of/this/process")
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 1, None), 1)
    (pid,) = made.pids
    told = Path(f"/proc/{pid}/environ").read_bytes()
    made.close()
    assert b"secret" not in told
    assert b"CLAIP_EMO_FACE_MODEL=/of/this/process" in told


def test_one_that_is_busy_ends_when_its_parent_is_gone() -> None:
    busy = (
        "from claip_emo.inference import reading_process as it\n"
        "it._Reading = lambda *_: None\n"
        "class Connection:\n"
        "    asked = 0\n"
        "    def recv_bytes(self):\n"
        "        self.asked += 1\n"
        "        while self.asked > 1: pass\n"
        "        return it.pack({})\n"
        "    send_bytes = print\n"
        "it.serve(Connection())"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"busy = subprocess.Popen([sys.executable, '-c', {busy!r}], stdout=subprocess.PIPE)\n"
        "busy.stdout.read(1)  # it works\n"
        "print(busy.pid, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert gone(int(done.stdout))


def test_a_setup_that_fails_says_why(recognizer, both) -> None:
    setup = Setup.of(recognizer.predictor, recognizer.reader, 1, None)
    wrong = replace(setup, settings=setup.settings | {"image_channels": 2})
    made = Workers(wrong, 1)
    with pytest.raises(WorkerLostError, match="image_channels is 1 or 3"):
        load(made, both, "av")
    made.close()


def test_rows_of_many_are_those_without_processes(recognizer, workers, both, tmp_path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    mute = write(tmp_path / "mute.mp4", ramp(20))
    paths = [both, bad, mute, both]
    wanted = list(recognizer.many(paths))
    here = EmotionRecognizer(recognizer.predictor, reader=recognizer.reader)
    here.reader = WorkersReader(recognizer.reader, workers)
    assert list(here.many(paths)) == wanted


def test_who_ends_early_does_not_wait_for_processes_that_read(recognizer, both) -> None:
    """As at an interrupt: a film may take minutes, and here it would take for ever."""
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 2, None), 2)
    pids = made.pids
    here = EmotionRecognizer(recognizer.predictor, reader=recognizer.reader)
    here.reader = WorkersReader(recognizer.reader, made)
    rows = here.many([both] * 40, batch_size=1)
    assert next(rows).label
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until = threading.Timer(30, lambda: [os.kill(pid, signal.SIGKILL) for pid in pids])
    until.start()
    rows.close()
    assert until.is_alive()
    until.cancel()
    made.close()
    assert all(map(gone, pids))


def test_a_process_that_dies_is_the_row_of_its_file(recognizer, both, monkeypatch) -> None:
    made = Workers(Setup.of(recognizer.predictor, recognizer.reader, 1, None), 1)
    here = EmotionRecognizer(recognizer.predictor, reader=recognizer.reader)
    here.reader = WorkersReader(recognizer.reader, made)
    load(made, both, "av")
    with made.borrowed() as worker:
        pid = worker.pid
    os.kill(pid, signal.SIGSTOP)  # it takes the job, and dies of it
    threading.Timer(0.5, os.kill, (pid, signal.SIGSEGV)).start()
    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()
    rows = list(here.many([both, both]))
    made.close()
    assert rows[0].error == f"{both}: the process that read it ended (SIGSEGV)."
    assert rows[1].error is None
