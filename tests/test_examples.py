"""The examples run as they stand, in processes of their own, and are short."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from claip_emo.corpora.synthetic import make_clip

EXAMPLES = Path(__file__).parents[1] / "examples"
LONGEST = 40  # lines


def run(name: str, *arguments: object, rc: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == rc, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Eight clips of two people, happy and sad, and their table."""
    folder = tmp_path_factory.mktemp("clips")
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for number, part in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
            emotion = ("happiness", "sadness")[number % 2]
            make_clip(
                folder / f"{number}.mp4", person=number, emotion=emotion,
                size_px=96, fps=12, duration_s=1.2,
            )  # fmt: skip
            table.writerow([f"{number}.mp4", ("bright", "gloomy")[number % 2], part])
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_one_file(clips: Path) -> None:
    said = run("one_file.py", clips / "0.mp4")
    assert said.startswith(f"{clips / '0.mp4'}: ")
    assert said.count("%") == 7
    run("one_file.py", clips / "missing.mp4", rc=1)


def test_a_folder(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    (bad := tmp_path / "bad").mkdir()
    (bad / "a.mp4").write_bytes((clips / "0.mp4").read_bytes())
    (bad / "b.mp4").write_text("no video")
    assert "1 files could not be read" in run("folder.py", bad, out, rc=1)
    good, failed = csv.DictReader(out.open())
    assert good["label"]
    assert sum(float(v) for k, v in good.items() if k not in ("path", "label", "error")) == (
        pytest.approx(1, abs=1e-3)
    )
    assert not failed["label"]
    assert "b.mp4" in failed["error"]


def test_a_timeline_with_a_plot(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "plot.png"
    assert "person 1 shows" in run("timeline.py", clips / "0.mp4", out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_own_labels(clips: Path, tmp_path: Path) -> None:
    said = run(
        "own_labels.py", clips / "clips.csv", tmp_path / "run", "train.epochs=1",
        "train.warmup_epochs=0", "data.face_detector=none", "model.processor.num_frames=4",
    )  # fmt: skip
    assert "its label is bright" in said
    assert (tmp_path / "run" / "report.html").is_file()
