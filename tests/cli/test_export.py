"""claip-emo export: what it writes, and what it refuses."""

import json

import pytest


@pytest.mark.parametrize("arguments", [("onnx",), ("onnx", "--precision", "int8"), ("merged",)])
def test_what_is_written_predicts_as_the_run(command, run_folder, clips, tmp_path, arguments):
    out = tmp_path / "out"
    done = command("export", "--model", run_folder, "--out", out, "--format", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert f"{out}: " in done.stderr
    assert "Warning" not in done.stderr
    file = next(clips.parent.rglob("*.mp4"))
    scores = []
    wide = ["--precision", "fp32"]  # auto would be bf16 where the processor has it
    for model, precision in ((run_folder, wide), (out, [] if "int8" in arguments else wide)):
        said = command(
            "predict", file, "--model", model, "--json", "--face-detector", "none", *precision
        )
        assert said.returncode == 0, said.stderr
        scores.append(json.loads(said.stdout)["scores"])
    assert scores[1] == pytest.approx(scores[0], abs=0.05 if "int8" in arguments else 1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Say what it is to become"),
        (["--format", "merged", "--half"], "are for --format checkpoint"),
        (["--format", "merged", "--precision", "int8"], "--precision is for --format onnx"),
        (["--half", "--precision", "fp32"], "--precision is for --format onnx"),
        (["--format", "onnx", "--precision", "bf16"], "bf16"),
        (["--format", "onnx", "--out", "{there}"], "is there; name another folder"),
        (["--format", "merged", "--out", "{there}"], "holds no checkpoint"),
        (["--format", "onnx", "--model", "nowhere"], "does not exist"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(command, run_folder, tmp_path, arguments, says):
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    filled = [a.format(there=there) for a in arguments]
    done = command("export", "--model", run_folder, "--out", tmp_path / "out", *filled)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert (there / "mine.txt").is_file()
    assert not (tmp_path / "out").exists()
