"""claip-emo predict: one row per file, errors as rows, no traceback on any input."""

import json
import os
import shutil

import pytest

from ..conftest import SHARED
from ..media.make_media import ramp
from ..media.zoo import fill

YUNET = SHARED / "models" / "yunet_2026may.onnx"
REAL = sorted((SHARED / "data" / "real").glob("*.mp4"))
KEYS = {
    "path",
    "label",
    "scores",
    "duration_s",
    "face_rate",
    "modalities",
    "warnings",
    "error",
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("zoo"))


def test_every_input_is_a_row(process, run_folder, zoo) -> None:
    files = sorted(zoo.iterdir())
    done = process("predict", *files, zoo / "bad_missing.mp4", "--model", run_folder, "--json")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1  # some failed
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == [*map(str, files), str(zoo / "bad_missing.mp4")]
    for row in rows:
        assert set(row) == KEYS
        name = row["path"].rpartition("/")[2]
        if name.startswith("bad_"):
            assert row["path"] in row["error"]
            assert row["label"] is None
            assert row["scores"] is None
            assert row["duration_s"] is None
            assert row["face_rate"] is None
            assert row["modalities"] == row["warnings"] == []
        else:
            assert row["error"] is None, row
            assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-5)
            assert row["label"] == max(row["scores"], key=row["scores"].get)
            assert row["modalities"]
    by_name = {row["path"].rpartition("/")[2]: row for row in rows}
    assert by_name["both.mp4"]["modalities"] == ["video", "audio"]
    assert by_name["no_sound.mp4"]["modalities"] == ["video"]
    assert by_name["sound.wav"]["modalities"] == ["audio"]
    assert by_name["sound.wav"]["face_rate"] is None
    assert by_name["both.mp4"]["face_rate"] == 0.0
    assert any("no face" in w for w in by_name["both.mp4"]["warnings"])
    assert "the sound is silent" in by_name["silent.mp4"]["warnings"]
    assert "weaker" in done.stderr  # Haar, offline


def test_good_files_end_with_0_and_a_table(command, run_folder, zoo) -> None:
    done = command("predict", zoo / "both.mp4", zoo / "sound.wav", "--model", run_folder)
    assert done.returncode == 0, done.stderr
    assert "both.mp4" in done.stdout
    assert "video + audio" in done.stdout


def test_the_folder_that_files_share_is_named_once(command, run_folder, zoo) -> None:
    files = zoo / "sound.wav", zoo / "silent.mp4"
    done = command("predict", *files, "--model", run_folder, COLUMNS="60")
    first, _, *rows = done.stdout.splitlines()
    assert first == f"In {zoo}/"
    assert [row.split()[0] for row in rows[:2]] == ["sound.wav", "silent.mp4"]
    alone = command("predict", files[0], "--model", run_folder, COLUMNS="300")
    assert str(files[0]) in alone.stdout
    assert "In " not in alone.stdout


def test_what_is_to_be_said_of_a_file_stands_in_one_line(command, run_folder, zoo) -> None:
    files = zoo / "silent.mp4", zoo / "bad_missing.mp4"
    done = command("predict", *files, "--model", run_folder, COLUMNS="40")
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert f"{files[0]}: the sound is silent." in said
    assert f"{files[1]}: there is no such file." in said


def test_precision_and_batch_size_reach_the_recogniser(
    command, run_folder, zoo, monkeypatch
) -> None:
    from claip_emo import EmotionRecognizer

    asked, many = [], EmotionRecognizer.many
    loaded = EmotionRecognizer.from_pretrained.__func__

    def noted(cls, *arguments, **settings):
        asked.append(settings["precision"])
        return loaded(cls, *arguments, **settings)

    def batched(self, paths, **settings):
        asked.append(settings["batch_size"])
        return many(self, paths, **settings)

    monkeypatch.setattr(EmotionRecognizer, "from_pretrained", classmethod(noted))
    monkeypatch.setattr(EmotionRecognizer, "many", batched)
    files = zoo / "both.mp4", zoo / "sound.wav", zoo / "no_sound.mp4"
    rows = {}
    for more in ((), ("--precision", "int8", "--batch-size", "1")):
        done = command("predict", *files, "--model", run_folder, "--json", *more)
        assert done.returncode == 0, done.stderr
        rows[more] = [json.loads(line) for line in done.stdout.splitlines()]
        assert [set(row) for row in rows[more]] == [KEYS] * 3
    assert asked == ["auto", 8, "int8", 1]
    plain, narrow = ([row["scores"] for row in found] for found in rows.values())
    assert plain != narrow
    for one, other in zip(plain, narrow, strict=True):
        assert other == pytest.approx(one, abs=0.05)


def test_names_that_are_markup_are_shown_as_they_are(command, run_folder, zoo, tmp_path) -> None:
    for name in ("a[red]b.mp4", "x[bold].mp4"):
        shutil.copy(zoo / "both.mp4", tmp_path / name)
    (tmp_path / "._a.mp4").write_bytes(b"of a system")
    done = command("predict", tmp_path, "bad[/y].mp4", "--model", run_folder)
    assert done.returncode == 1  # there is no folder `bad[`
    assert "a[red]b.mp4" in done.stdout
    assert "x[bold].mp4" in done.stdout
    assert "bad[/y].mp4" in done.stdout
    assert "._a" not in done.stdout


def test_names_that_stdout_cannot_take(process, run_folder, zoo, tmp_path) -> None:
    strange = os.fsdecode(b"bad\xff.mp4"), "名前.mp4"
    for name in strange:
        shutil.copy(zoo / "sound.wav", tmp_path / name)
    files = [*(tmp_path / name for name in strange), "x" * 300, zoo / "sound.wav"]
    done = process(
        "predict", *files, "--model", run_folder, "--json", PYTHONIOENCODING="latin-1:strict"
    )
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == list(map(str, files))
    assert [row["error"] is None for row in rows] == [True, True, False, True]


def test_whatever_one_file_does_the_others_go_on(command, run_folder, zoo, monkeypatch) -> None:
    from claip_emo.inference import reader

    load = reader.load_clip

    def broken(path, *rest, **more):
        if "silent" in str(path):
            raise MemoryError
        return load(path, *rest, **more)

    monkeypatch.setattr(reader, "load_clip", broken)
    files = zoo / "both.mp4", zoo / "silent.mp4", zoo / "sound.wav"
    done = command("predict", *files, "--model", run_folder, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "MemoryError" in rows[1]["error"]


def test_one_modality_is_used_when_asked(command, run_folder, zoo) -> None:
    rows = {}
    for kind in ("av", "video", "audio"):
        done = command(
            "predict", zoo / "both.mp4", "--model", run_folder / "model", "--json",
            "--modality", kind, "--face-detector", "none",
        )  # fmt: skip
        rows[kind] = json.loads(done.stdout)
    assert rows["video"]["modalities"] == ["video"]
    assert rows["audio"]["modalities"] == ["audio"]
    assert rows["av"]["scores"] != rows["video"]["scores"] != rows["audio"]["scores"]


def test_a_folder_stands_for_its_files_or_for_its_frames(command, run_folder, zoo, tmp_path):
    import cv2

    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(zoo / "both.mp4", media / "b.mp4")
    shutil.copy(zoo / "sound.wav", media / "a.wav")
    (media / "notes.txt").write_text("x")
    frames = tmp_path / "frames"
    frames.mkdir()
    for index, frame in enumerate(ramp(8)):
        cv2.imwrite(str(frames / f"{index}.png"), frame)
    empty = tmp_path / "empty"
    empty.mkdir()
    done = command("predict", media, frames, empty, "--model", run_folder, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [media / "a.wav", media / "b.mp4", frames, empty]
    assert [row["path"] for row in rows] == [str(p) for p in expected]
    assert [row["error"] is None for row in rows] == [True, True, True, False]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nowhere"], "does not exist"),
        (["--model", "{zoo}"], "no checkpoint"),
        (["--model", "{run}", "--face-model", "nowhere.onnx"], "no such YuNet model file"),
        (["--model", "{run}", "--face-detector", "yunet"], "--face-model FILE"),
        (["--model", "{run}", "--device", "tpu"], "Unknown device"),
        (["--model", "{run}", "--modality", "smell"], "--modality"),
        (["--model", "{run}", "--precision", "fp8"], "--precision"),
        (["--model", "{run}", "--batch-size", "0"], "--batch-size"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(command, run_folder, zoo, arguments, says) -> None:
    filled = [a.format(zoo=zoo, run=run_folder) for a in arguments]
    done = command("predict", zoo / "both.mp4", *filled)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("model_file", [YUNET] if REAL and YUNET.is_file() else [])
def test_real_recordings(command, run_folder, model_file) -> None:
    arguments = ("predict", *REAL, "--model", run_folder, "--json")
    done = command(*arguments, CLAIP_EMO_FACE_MODEL=str(model_file))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 5
    assert [row["face_rate"] for row in rows] == [1.0] * 5
    assert all("video" in row["modalities"] for row in rows)


def test_without_a_model_the_one_in_the_box_is_used(
    command, run_folder, clips, monkeypatch
) -> None:
    monkeypatch.setattr("claip_emo.model.checkpoint_folder.files", lambda name: run_folder)
    monkeypatch.setattr("claip_emo.model.checkpoint_folder.PACKAGED", "model")
    clip = next(clips.parent.rglob("*.mp4"))
    named = command("predict", clip, "--model", run_folder, "--json")
    boxed = command("predict", clip, "--json")

    assert boxed.returncode == 0, boxed.stderr
    assert json.loads(boxed.stdout) == json.loads(named.stdout)
    assert "The small model that comes with claip-emo is used" in boxed.stderr
    assert "The small model" not in named.stderr


def test_an_installation_without_a_model_asks_for_one(
    command, clips, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("claip_emo.model.checkpoint_folder.files", lambda name: tmp_path)
    done = command("predict", next(clips.parent.rglob("*.mp4")))

    assert done.returncode == 2
    assert "carries no model; name one with --model DIR" in done.stderr
