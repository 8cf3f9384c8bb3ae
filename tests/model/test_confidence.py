"""What a configuration says of confidence: what it may be, and that it is rewritten whole."""

import json
import os
import subprocess
import sys

import pytest

from claip_emo import ClaipEmoConfig, ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model import checkpoint_folder
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.checkpoint_folder import CONFIG, copy_checkpoint, rewrite_config
from claip_emo.model.folded import FoldedConfig

THERE = ("av", "v", "a", None)
CHANGES = {"temperature": {"av": 0.7, "v": 1.5}, "abstain_below": {"av": 0.55}}


@pytest.fixture
def folder(tmp_path):
    ClaipEmoModel(configure(resolve("tiny"), SEVEN, temperature=0.5)).save_pretrained(tmp_path)
    return tmp_path


def test_one_number_is_the_temperature_of_all(folder) -> None:
    for config in (ClaipEmoConfig.from_pretrained(folder), FoldedConfig.of_folder(folder)):
        assert [config.temperature_of(there) for there in THERE] == [0.5] * 4


def test_a_mapping_is_kept_and_read_by_both(folder) -> None:
    rewrite_config(folder, CHANGES)
    again = folder / "again"
    ClaipEmoModel.from_pretrained(folder).save_pretrained(again)
    for config in (ClaipEmoConfig.from_pretrained(again), FoldedConfig.of_folder(folder)):
        assert [config.temperature_of(there) for there in THERE] == [0.7, 1.5, 1, 1]
        assert config.abstain_below == {"av": 0.55}


@pytest.mark.parametrize(
    ("choice", "says"),
    [
        ({"temperature": 0}, "temperature is a number above 0"),
        ({"temperature": "hot"}, "temperature is a number above 0"),
        ({"temperature": {"v": -1.0}}, "temperature is a number above 0"),
        ({"temperature": {"v": float("nan")}}, "temperature is a number above 0"),
        ({"temperature": {"video": 1.0}}, "a key of temperature is 'video'"),
        ({"abstain_below": 0.5}, "abstain_below is a mapping"),
        ({"abstain_below": {"a": 1.5}}, "a score from 0 to 1"),
        ({"abstain_below": {"both": 0.5}}, "a key of abstain_below is 'both'"),
    ],
)
def test_what_is_none_is_refused(choice, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FoldedConfig(**choice)
    with pytest.raises(ValueError, match=says):
        configure(resolve("tiny"), SEVEN, **choice)


def test_the_configuration_is_the_former_until_the_new_one_is_whole(folder, monkeypatch) -> None:
    """A full disk, an interrupt: the checkpoint is what it was, and so are its sums."""
    (folder / "SHA256SUMS").write_text("sums of the former files\n")
    former = (folder / CONFIG).read_bytes()
    monkeypatch.setattr(checkpoint_folder, "sync", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rewrite_config(folder, CHANGES)
    assert (folder / CONFIG).read_bytes() == former
    assert (folder / "SHA256SUMS").is_file()
    assert not list(folder.glob(".*"))
    monkeypatch.undo()
    (folder / CONFIG).chmod(0o444)
    rewrite_config(folder, CHANGES)
    said = json.loads((folder / CONFIG).read_text())
    assert said == json.loads(former) | CHANGES
    assert not (folder / "SHA256SUMS").exists()


def test_a_kill_leaves_the_former_and_the_next_call_goes_on(folder) -> None:
    former = (folder / CONFIG).read_bytes()
    code = (
        "import os, sys; from pathlib import Path;"
        "from claip_emo.model import checkpoint_folder as c;"
        "c.sync = lambda path: os.kill(os.getpid(), 9);"
        f"c.rewrite_config(Path(sys.argv[1]), {CHANGES!r})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=dict(os.environ))
    assert done.returncode == -9
    assert (folder / CONFIG).read_bytes() == former
    rewrite_config(folder, CHANGES)
    assert ClaipEmoConfig.from_pretrained(folder).temperature == CHANGES["temperature"]
    assert not list(folder.glob(".*"))


def test_a_copy_leaves_the_report_of_the_former_behind(folder, tmp_path_factory) -> None:
    (folder / "calibration").mkdir()
    (folder / "calibration" / "calibration.json").write_text("{}")
    copy = tmp_path_factory.mktemp("copy")
    copy_checkpoint(folder, copy)
    assert {path.name for path in copy.iterdir()} == {
        path.name for path in folder.iterdir() if path.name != "calibration"
    }
