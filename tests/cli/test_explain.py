"""predict --explain and evaluate --explain: a figure and a JSON per clip, no traceback on any."""

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from claip_emo.corpora.table import read_table
from claip_emo.data.dataset import ClipDataset
from claip_emo.evaluation.evaluate import write_run
from claip_emo.evaluation.predictions import Predictions
from claip_emo.media.clip import ClipSpec

from ..media.make_media import ramp, tone, write

KEYS = {
    "path", "label", "scores", "headline", "sentence", "note", "modalities", "shares", "frames",
    "seconds", "regions",
}  # fmt: skip
EXAMPLE = Path(__file__).parents[2] / "examples" / "explain.py"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """Files of every kind; those named bad_* yield nothing."""
    folder = tmp_path_factory.mktemp("zoo")
    write(folder / "both.mp4", ramp(20), tone(0.8))
    write(folder / "both.wav", None, tone(0.8))
    write(folder / "silent.mp4", ramp(20), np.zeros(38_400, np.float32))
    write(folder / "one_frame.mp4", ramp(1))
    (folder / "frames").mkdir()
    for index, frame in enumerate(ramp(8)):
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), frame)
    (folder / "bad_empty.mp4").write_bytes(b"")
    (folder / "bad_text.mp4").write_text("not a video\n" * 30)
    half = write(folder / "bad_half.mp4", ramp(50), tone(2.0))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    write(folder / "bad_silence.wav", None, np.zeros(48_000, np.float32))
    return folder


def test_every_input_is_explained_or_a_row_with_its_error(command, run_folder, zoo, tmp_path):
    files = [*sorted(zoo.iterdir()), zoo / "bad_missing.mp4"]
    out = tmp_path / "new" / "folder"
    done = command("predict", *files, "--model", run_folder, "--json", "--explain", out)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1  # some failed
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == list(map(str, files))
    bad = [row["path"] for row in rows if row["error"]]
    assert bad == [str(path) for path in files if path.name.startswith("bad_")]
    good = {
        "both": "both.mp4", "both-2": "both.wav", "silent": "silent.mp4",
        "one_frame": "one_frame.mp4", "frames": "frames",
    }  # fmt: skip
    written = {f"{name}{kind}" for name in good for kind in (".json", ".png")}
    assert {path.name for path in out.iterdir()} == written
    by_path = {row["path"]: row for row in rows}
    for name, file in good.items():
        told = json.loads((out / f"{name}.json").read_text())
        row = by_path[str(zoo / file)]
        assert told.keys() == KEYS
        assert (told["path"], told["label"], told["scores"]) == (
            row["path"], row["label"], row["scores"],
        )  # fmt: skip
        used = {"video": bool(told["frames"]), "audio": bool(told["seconds"])}
        assert [kind for kind, there in used.items() if there] == row["modalities"]
        assert (told["regions"] is not None) == bool(told["frames"])
        with Image.open(out / f"{name}.png") as picture:
            assert picture.width == 1400
    attention = [frame["attention"] for frame in told["frames"]]  # of the last one, frames
    assert 0 < sum(attention) < 1


def test_what_cannot_be_explained_is_a_row_with_its_error(
    command, run_folder, zoo, tmp_path, monkeypatch
) -> None:
    from claip_emo.inference import explain_figure

    draw = explain_figure.draw

    def broken(explanation, *rest) -> None:
        if explanation.path.endswith(".wav"):
            raise MemoryError
        draw(explanation, *rest)

    monkeypatch.setattr(explain_figure, "draw", broken)
    files = zoo / "both.wav", zoo / "both.mp4"
    done = command("predict", *files, "--model", run_folder, "--json", "--explain", tmp_path)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 1
    assert first["error"] == f"{files[0]}: it could not be explained (MemoryError)."
    assert first["label"] is not None
    assert second["error"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"both-2.png", "both-2.json"}


def test_a_file_in_the_place_of_the_folder_is_wrong_usage(command, run_folder, zoo) -> None:
    taken = zoo / "both.wav"
    done = command("predict", zoo / "both.mp4", "--model", run_folder, "--explain", taken)
    assert done.returncode == 2
    assert "--explain" in done.stderr


def test_files_of_others_are_no_place_for_explanations(command, run_folder, zoo, tmp_path) -> None:
    path = tmp_path / "both.mp4"
    path.write_bytes((zoo / "both.mp4").read_bytes())
    (tmp_path / "both.json").write_text('{"mine": 1}')
    done = command("predict", path, "--model", run_folder, "--explain", tmp_path)
    assert done.returncode == 2
    assert "is no such result" in done.stderr
    assert json.loads((tmp_path / "both.json").read_text()) == {"mine": 1}
    assert not (tmp_path / "both.png").exists()


def test_one_modality_is_explained_when_asked(command, run_folder, zoo, tmp_path) -> None:
    done = command(
        "predict", zoo / "both.mp4", "--model", run_folder, "--modality", "audio",
        "--explain", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "both.json").read_text())
    assert (told["frames"], told["regions"], set(told["shares"])) == ([], None, {"voice"})


def test_the_report_explains_the_surest_mistakes(command, run_folder, clips, tmp_path) -> None:
    out = tmp_path / "scored"
    done = command(
        "evaluate", "--model", run_folder, "--table", clips, "--split", "test", "--out", out,
        "--workers", 0, "--explain", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(path.read_text()) for path in (out / "explanations").glob("*.json")]
    page = (out / "report.html").read_text()
    assert len(told) == 2
    assert page.count("data:image/webp;base64,") == 2
    for one in told:
        assert one["note"] in page
        assert f"<strong>{one['label']}</strong>: {one['sentence']}" in page
        assert one["sentence"] in (out / "report.md").read_text()

    dataset = ClipDataset(read_table(clips).part("test"), ClipSpec(size_px=32), None)
    write_run(out, Predictions.read(out / "predictions.parquet"), dataset, {})
    assert list((out / "explanations").iterdir()) == []
    assert "What carried them" not in (out / "report.html").read_text()


def test_the_example_explains_a_clip(zoo, tmp_path, capsys) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 40
    runpy.run_path(str(EXAMPLE))["main"](str(zoo / "both.mp4"), str(tmp_path))
    assert "log-odds; alone it would say" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"both.png", "both.json"}
