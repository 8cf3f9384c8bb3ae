"""claip-emo batch: one row per file, exit codes, and going on after kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from claip_emo.inference.batch import Choices
from claip_emo.media.faces import Haar, YuNet

from ..media.make_media import ramp, tone, write
from ..processes import children, gone

COUNT = 100  # a twentieth of what the whole trial has
KILLS = 3
COMMON = ("--face-detector", "none", "--workers", "2")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Small clips, each with a name of its own; one of them is broken."""
    folder = tmp_path_factory.mktemp("many")
    kinds = [write(folder / f"{n}.mp4", ramp(8 + n), tone(0.4)).read_bytes() for n in range(4)]
    for file in folder.iterdir():
        file.unlink()
    for number in range(COUNT):
        place = folder / f"{number % 3}" / f"{number:03}.mp4"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(kinds[number % 4] if number != 42 else b"no video" * 50)
    return folder


def table(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


@pytest.fixture
def wanted(clips, command) -> list[dict]:
    """What predict says of each kind, for every file."""
    every = sorted(clips.rglob("*.mp4"))
    kinds = {path.read_bytes(): path for path in every}
    done = command("predict", *kinds.values(), "--json", "--face-detector", "none")
    assert len(kinds) == done.stdout.count("\n") == 5
    rows = {row["path"]: row for row in map(json.loads, done.stdout.splitlines())}
    return [rows[str(kinds[path.read_bytes()])] | {"path": str(path)} for path in every]


def check(found: list[dict], wanted: list[dict]) -> None:
    assert [row["path"] for row in found] == [row["path"] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        scores = {name[6:]: v for name, v in row.items() if name.startswith("score_")}
        if other["scores"] is None:
            assert {*scores.values()} == {None}
        else:
            assert scores == pytest.approx(other["scores"], abs=1e-6)
        rest = {name: row[name] for name in row if not name.startswith("score_")}
        assert rest == {name: other[name] for name in other if name != "scores"}


def test_killed_at_random_every_file_is_there_once(clips, wanted, tmp_path) -> None:
    out, rng = tmp_path / "out.parquet", random.Random(0)
    arguments = [sys.executable, "-m", "claip_emo.cli.main", "batch", clips, "--out", out, *COMMON]
    seen = set()
    for _ in range(KILLS):
        running = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        before, until = shards(out), time.monotonic() + 60
        while shards(out) == before and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.3)
        running.kill()
        running.wait()
        assert not out.exists() or len(table(out)) == COUNT
        seen |= {(shard.name, shard.stat().st_ino) for shard in shards(out)}
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{COUNT} files, " in done.stderr
    assert len({name for name, _ in seen}) == len(seen)  # no shard was written again
    check(table(out), wanted)
    assert [*tmp_path.iterdir()] == [out]


def shards(out: Path) -> set[Path]:
    return {*out.with_name("out.parquet.work").glob("[0-9]*.parquet")}


def test_processes_end_with_the_command_that_is_killed(clips, tmp_path) -> None:
    out = tmp_path / "out.parquet"
    arguments = [sys.executable, "-m", "claip_emo.cli.main", "batch", clips, "--out", out, *COMMON]
    running = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not shards(out) and time.monotonic() < until:
        time.sleep(0.01)
    started = children(running.pid)
    assert len(started) == 2
    running.kill()
    running.wait()
    assert all(map(gone, started))


def test_an_interrupt_keeps_what_is_done(clips, tmp_path) -> None:
    out = tmp_path / "out.parquet"
    arguments = [sys.executable, "-m", "claip_emo.cli.main", "batch", clips, "--out", out, *COMMON]
    running = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not shards(out) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert "the same command goes on" in said
    assert shards(out)


def test_run_again_it_adds_what_is_new_and_retries_what_failed(command, clips, tmp_path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out.parquet"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes((clips / "0" / "000.mp4").read_bytes())
    (folder / "c.mp4").write_bytes(b"broken" * 100)
    done = command("batch", folder, "--out", out, *COMMON, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["files"], told["done_now"], told["failed"]) == (3, 3, 1)
    assert sum(told["labels"].values()) == 2
    (folder / "c.mp4").write_bytes((clips / "0" / "000.mp4").read_bytes())
    (folder / "d.mp4").write_bytes((clips / "0" / "000.mp4").read_bytes())
    done = command("batch", folder, "--out", out, *COMMON, "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["files"], told["done_now"], told["failed"]) == (1, 4, 1, 1)
    done = command("batch", folder, "--out", out, *COMMON, "--retry-failed")
    assert done.returncode == 0, done.stderr
    assert "4 files, 3 of them before" in done.stderr
    assert {Path(row["path"]).name: row["error"] for row in table(out)} == dict.fromkeys(
        ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    )
    done = command("batch", folder, "--out", out, *COMMON, "--modality", "video")
    assert done.returncode == 2
    assert "made otherwise (modality)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "out.csv"), "is named FILE.parquet"),
        (("--out", "o.parquet", "--address", "auto"), "add --engine ray"),
        (("--out", "o.parquet", "--abstain", "2"), "between 0 and 1"),
        (("*.avi", "--out", "o.parquet"), "no file has such a name"),
        (("--out", "o.parquet", "--model", "nowhere/x/y"), "nowhere/x/y"),
    ],
)
def test_wrong_options_are_refused(command, clips, tmp_path, monkeypatch, arguments, says) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("batch", clips / "0", *arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("o.parquet").exists()


def test_the_weaker_detector_is_told_once(command, clips, tmp_path, caplog) -> None:
    done = command("batch", clips / "0/000.mp4", "--out", tmp_path / "o.parquet", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert sum("weaker detector" in each.message for each in caplog.records) == 1


def test_rows_of_another_detector_are_made_otherwise(tmp_path) -> None:
    ways = []
    for content in (b"one", b"another"):
        reader = SimpleNamespace(detector=object.__new__(YuNet))
        reader.detector.model_file = tmp_path / "yunet.onnx"
        reader.detector.model_file.write_bytes(content)
        ways.append(Choices.of(None).how(reader))
    ways += [Choices.of(None).how(SimpleNamespace(detector=found)) for found in (None, Haar())]
    assert len({json.dumps(way) for way in ways}) == 4


def test_nothing_to_do_is_told(command, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    done = command("batch", tmp_path / "empty", "--out", tmp_path / "o.parquet")
    assert done.returncode == 2
    assert "no files" in done.stderr
