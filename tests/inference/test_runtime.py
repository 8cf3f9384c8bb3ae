"""The runtime without torch: rows of ``predict --json``, exit codes, no traceback on any file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from claip_emo.cli.main import main as command_line
from claip_emo.inference import runtime
from claip_emo.inference.export import export_onnx
from claip_emo.inference.recognizer import EmotionRecognizer
from claip_emo.model.checkpoint_folder import packaged

from ..conftest import SHARED
from ..media.zoo import fill
from ..processes import run_python

HERE = Path(__file__).resolve().parents[2]
YUNET = SHARED / "models" / "yunet_2026may.onnx"
REAL = sorted((SHARED / "data" / "real").glob("*.mp4"))[:1] if YUNET.is_file() else []
NEEDED = {"numpy", "av", "cv2", "onnxruntime"}
FORBIDDEN = [
    "torch", "transformers", "peft", "accelerate", "safetensors", "huggingface_hub", "typer",
    "rich", "pydantic", "yaml", "matplotlib", "pyarrow", "threadpoolctl", "jinja2", "PIL", "scipy",
    "onnx",
]  # fmt: skip
LEAN = f"""
import importlib.metadata, sys
sys.modules.update(dict.fromkeys({FORBIDDEN}))  # importing one of them fails
exec(sys.argv.pop(1))
known = set(importlib.metadata.packages_distributions()) - {{"claip_emo", "_distutils_hack"}}
there = {{name.partition(".")[0] for name, found in sys.modules.items() if found is not None}}
print(*sorted(there & known), file=sys.stderr)
sys.exit(code)
"""
RUN = "from claip_emo.inference.runtime import main; code = main(sys.argv[1:])"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    return export_onnx(packaged(), tmp_path_factory.mktemp("runtime") / "onnx")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Files of every kind, missing ones, and folders."""
    folder = fill(tmp_path_factory.mktemp("zoo"))
    inside = sorted(folder.iterdir())
    empty = folder / "bad_empty_folder"
    empty.mkdir()
    return [*inside, empty, folder / "bad_missing.mp4", *REAL]


def rows_of(printed: str) -> list[dict]:
    return [json.loads(line) for line in printed.splitlines()]


def test_rows_are_those_of_predict_where_nothing_else_can_be_imported(exported, files) -> None:
    recognizer = EmotionRecognizer.from_pretrained(
        face_detector="yunet" if REAL else "haar", face_model=YUNET if REAL else None
    )
    wanted = [row.to_dict() for row in recognizer.many(files)]
    chosen = ["--face-model", str(YUNET)] if REAL else ["--face-detector", "haar"]
    given = [str(exported), *map(str, files), "--json", "--threads", "1", *chosen]
    done = run_python(LEAN, RUN, *given)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1  # some failed
    assert set(done.stderr.splitlines()[-1].split()) == NEEDED
    rows = rows_of(done.stdout)
    assert [list(row) for row in rows] == [list(row) for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        scores, expected = row.pop("scores"), other.pop("scores")
        assert row == other
        assert (row["error"] is None) != ("bad_" in row["path"])
        assert scores == (expected and pytest.approx(expected, abs=1e-4))


def test_predict_takes_an_exported_model_too(exported, files, monkeypatch, capsys) -> None:
    file = next(path for path in files if path.name == "both.mp4")
    given = ["predict", str(file), "--json", "--face-detector", "none", "--model"]
    rows = []
    for model in (exported, packaged()):
        monkeypatch.setattr(sys, "argv", ["claip-emo", *given, str(model)])
        with pytest.raises(SystemExit):
            command_line()
        rows += rows_of(capsys.readouterr().out)
    assert rows[0]["scores"] == pytest.approx(rows[1]["scores"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{model}"], 2, "the following arguments are required: FILE"),
        (["nowhere", "a.mp4"], 2, "processor_config.json cannot be read"),
        (["{boxed}", "a.mp4"], 2, "vision.onnx is missing"),
        (["{model}", "a.mp4", "--abstain", "1.5"], 2, "a score between 0 and 1 or 'auto'"),
        (["{model}", "a.mp4", "--batch-size", "0"], 2, "at least 1, not 0"),
        (["{model}", "a.mp4", "--threads", "two"], 2, "at least 1, not two"),
        (["{model}", "a.mp4", "--face-model", "nowhere.onnx"], 2, "no such YuNet model file"),
        (["{model}", "a.mp4", "--face-detector", "none"], 1, ""),
        (["{model}", "{good}", "--face-detector", "none"], 0, ""),
    ],
)
def test_exit_codes(exported, files, capsys, arguments, code, says) -> None:
    good = next(path for path in files if path.name == "sound.wav")
    filled = [a.format(model=exported, boxed=packaged(), good=good) for a in arguments]
    try:
        found = runtime.main(filled)
    except SystemExit as stop:  # of argparse
        found = stop.code
    told = capsys.readouterr()
    assert found == code
    assert says in told.err
    if code < 2:
        assert told.out.splitlines()[0].split() == [*runtime.COLUMNS]


def test_the_table_says_what_the_rows_say(exported, files, capsys) -> None:
    names = "both.mp4", "bad_empty.mp4"
    few = [str(next(path for path in files if path.name == name)) for name in names]
    assert runtime.main([str(exported), *few, "--face-detector", "haar"]) == 1
    header, good, bad, *said = capsys.readouterr().out.splitlines()
    row = EmotionRecognizer.from_pretrained(face_detector="haar")(few[0])
    assert row.label in good
    assert f"{row.scores[row.label]:.2f}" in good
    assert "video + audio  0%" in good
    assert bad.split() == [few[1], "error"]
    warned = [f"{few[0]}: {warning}." for warning in row.warnings]
    assert said == [*warned, f"{few[1]}: the file is empty (0 bytes)."]
    assert header.index("emotion") == good.index(row.label)


def test_who_is_not_sure_abstains(exported, files, capsys) -> None:
    file = next(path for path in files if path.name == "both.mp4")
    given = [str(exported), str(file), "--face-detector", "none", "--abstain", "1"]
    assert runtime.main(given) == 0
    row = EmotionRecognizer.from_pretrained(face_detector="none")(file)
    second = sorted(row.scores, key=row.scores.get)[-2]
    told = capsys.readouterr().out.splitlines()[1]
    assert told.split()[1:3] == ["uncertain", f"{row.scores[row.label]:.2f}"]
    assert f"{row.label} {row.scores[row.label]:.2f}, {second} {row.scores[second]:.2f}" in told


def test_an_interrupt_ends_with_130(exported, monkeypatch, capsys) -> None:
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(EmotionRecognizer, "many", interrupted)
    assert runtime.main([str(exported), "a.mp4", "b.mp4", "--face-detector", "none"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_traceback(exported, files) -> None:
    sound = next(path for path in files if path.name == "sound.wav")
    command = [sys.executable, "-m", "claip_emo.inference.runtime", str(exported)]
    command += [str(sound)] * 3 + ["--json", "--face-detector", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait(120) == 1
    assert "Traceback" not in told


def test_the_example_runs_without_torch(exported, files) -> None:
    example = HERE / "examples" / "torch_free.py"
    assert len(example.read_text().splitlines()) < 40
    sound = next(path for path in files if path.name == "sound.wav")
    run = f"import runpy; code = 0; runpy.run_path({str(example)!r}, run_name='__main__')"
    done = run_python(LEAN, run, str(exported), str(sound))
    assert done.returncode == 0, done.stderr
    label = EmotionRecognizer.from_pretrained(face_detector="none")(sound).label
    assert done.stdout.split()[:2] == [str(sound), label]
