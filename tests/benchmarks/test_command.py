"""``python -m benchmarks NAME``: the last line on stdout is one JSON object with agreed keys."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from benchmarks.__main__ import NAMES, main
from benchmarks.claim import Options

from benchmarks import (
    batch,
    clips,
    export,
    hostile,
    machine,
    predict,
    prepare,
    scaling,
    serving,
    timeline,
    train_step,
)
from claip_emo.cli.main import app

KEYS = {"name", "figure", "unit", "goal", "holds", "baseline", "machine"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Measure on so little that figures mean nothing."""
    whole_film = clips.film_720p
    monkeypatch.setattr(clips, "film_720p", lambda path, *_: whole_film(path, seconds=0.4))
    monkeypatch.setattr(machine, "GEMM_SIZE", 128)
    monkeypatch.setattr(scaling, "QUICK_CLIPS", 150)
    monkeypatch.setattr(scaling, "QUICK_SECONDS", (1, 4))
    monkeypatch.setattr(scaling, "PATTERN_S", 2)
    monkeypatch.setattr(scaling, "_in_process", _in_this_process)
    monkeypatch.setattr(timeline, "QUICK_SECONDS", 1)
    monkeypatch.setattr(timeline, "QUICK_LONG_S", 1)
    monkeypatch.setattr(timeline, "_in_process", timeline._long)
    monkeypatch.setattr(prepare, "QUICK_CLIPS", 4)
    monkeypatch.setattr(prepare, "CONSTRUCTED", Path("nowhere"))
    monkeypatch.setattr(prepare, "_timed", _claip_emo)
    monkeypatch.setattr(export, "CONSTRUCTED", Path("nowhere"))
    monkeypatch.setattr(train_step, "Worker", Inside)
    for name, value in {
        "QUICK_FILES": 6,
        "KILLS": 1,
        "DISTINCT": 2,
        "ray": lambda *_: None,
    }.items():
        monkeypatch.setattr(batch, name, value)
    monkeypatch.setattr(serving, "QUICK_CLIENTS", 2)
    monkeypatch.setattr(serving, "QUICK_SECONDS", 1.0)
    monkeypatch.setattr(serving, "batch_rate", lambda *_: 1.0)
    monkeypatch.setattr(hostile, "QUICK_FILES", 4)
    monkeypatch.setattr(export, "QUICK_CLIPS", 2)
    monkeypatch.setattr(export, "packaged", lambda: export._built("tiny-clip", tmp_path / "mini"))


def _claip_emo(command: list[str]) -> tuple[dict, float]:
    """Run the command in this process; return the JSON that it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        app(command[command.index("prepare") :], standalone_mode=False)
    return json.loads(printed.getvalue()), 1.0


class Inside:
    """What takes training steps, in this process."""

    def __init__(self, way: str, backbone: str, folder: Path) -> None:
        self._answers = train_step.answers(way, backbone, folder, ["step"] * 9)
        self.about = next(self._answers)

    def step(self) -> dict[str, float]:
        return next(self._answers)

    def close(self) -> None:
        self._answers.close()


def _in_this_process(what: str, where: str, backbone: str, *count: str) -> dict:
    if what == "many":
        return scaling._many(Path(where), backbone, int(*count))
    return scaling._long(Path(where), backbone)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_line_is_the_claim_and_out_keeps_it_with_its_figure(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main([name, "--quick", "--backbone", "tiny-clip", "--out", str(tmp_path)])
    (line,) = capfd.readouterr().out.splitlines()  # nothing else is on stdout
    result = json.loads(line)
    assert result.keys() >= KEYS
    assert result["name"] == name
    least = 0 if name in ("serving", "hostile") else 1e-9  # there it counts what went wrong
    assert result["figure"] == result["checks"][0]["figure"] >= least
    assert result["holds"] == all(check["holds"] for check in result["checks"])
    assert result["baseline"]["figure"] > 0
    assert result["machine"]["cores"] >= 1
    assert json.loads((tmp_path / f"{name}.json").read_text("utf-8")) == result
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_name_is_wrong_usage_and_the_names_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["nonsense"])
    assert stop.value.code == 2
    told = capsys.readouterr()
    assert not told.out
    assert all(name in told.err for name in NAMES)


def test_predict_keeps_freed_memory_as_every_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell() -> None:
        raise InterruptedError

    monkeypatch.setattr(predict, "keep_freed_memory", tell)
    with pytest.raises(InterruptedError):
        predict.measure(Options(quick=True))
