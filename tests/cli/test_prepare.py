"""claip-emo prepare, as its users run it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..media.make_media import ramp, tone, write


def table(folder: Path, count: int = 4, broken: int = 0, frames: int = 10) -> Path:
    rows = ["path,label"]
    for number in range(count):
        write(folder / f"{number}.mkv", ramp(frames + number), tone(0.5), codec="ffv1")
        rows.append(f"{number}.mkv,{('anger', 'fear')[number % 2]}")
    for number in range(broken):
        (folder / f"broken{number}.mp4").write_bytes(b"x%d" % number)
        rows.append(f"broken{number}.mp4,anger")
    path = folder / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def arguments(clips: Path, cache: Path) -> list[object]:
    options = ["--data", clips, "--cache", cache, "--workers", 2, "--json"]
    return ["prepare", "csv-tiny", *options, "--set", "data.face_detector=none"]


def test_clips_are_prepared_once(command, tmp_path) -> None:
    wanted = arguments(table(tmp_path), tmp_path / "cache")
    done = command(*wanted)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["clips"], told["prepared"], told["failed"]) == (4, 4, {})
    assert told["bytes"] > 4 * 48_000  # half a second of int16
    assert told["clips_per_s"] > 0
    again = json.loads(command(*wanted).stdout)
    assert (again["clips"], again["prepared"], again["bytes"]) == (4, 0, 0)


def test_clips_that_fail_are_named_and_the_exit_code_says_so(command, tmp_path) -> None:
    wanted = arguments(table(tmp_path, 2, broken=12), tmp_path / "cache")
    done = command(*wanted)
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["failed"]) == 12
    wanted.remove("--json")
    shown = command(*wanted).stderr
    assert "12 cannot be read" in shown
    assert "broken0.mp4" in shown
    assert "and 2 more" in shown


def test_the_folder_must_be_named(command, tmp_path) -> None:
    done = command("prepare", "csv-tiny", "--data", table(tmp_path, 1))
    assert done.returncode == 2
    assert "--cache DIR" in done.stderr
    done = command(
        "prepare", "csv-tiny", "--data", tmp_path / "clips.csv",
        "--set", f"data.cache={tmp_path / 'c'}", "--set", "data.face_detector=none",
    )  # fmt: skip
    assert done.returncode == 0
    assert list((tmp_path / "c").glob("pictures-*/*.arrow"))


def test_an_interrupt_ends_it_and_it_goes_on(command, tmp_path) -> None:
    cache = tmp_path / "cache"
    wanted = arguments(table(tmp_path, 40, frames=60), cache)
    call = [sys.executable, "-m", "claip_emo.cli.main", *map(str, wanted)]
    running = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, env={**os.environ})
    while not list(cache.glob("*/*.arrow")):
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert "Traceback" not in told
    assert "goes on" in told
    again = command(*wanted)
    assert 0 < json.loads(again.stdout)["prepared"] < 40


@pytest.mark.parametrize("name", ["none", "memory"])
def test_a_folder_that_could_not_be_read_again_is_refused(command, tmp_path, name) -> None:
    done = command("prepare", "csv-tiny", "--data", table(tmp_path, 1), "--cache", name)

    assert done.returncode == 2
    assert f"./{name}, if it is called so" in done.stderr
