"""claip-emo batch --engine ray: two workers give the rows of one process."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ..media.make_media import ramp, tone, write

COMMON = ("--face-detector", "none", "--workers")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    kinds = [write(folder / f"{n}.mp4", ramp(8 + n), tone(0.4)).read_bytes() for n in range(3)]
    for number in range(3, 40):
        (folder / f"{number}.mp4").write_bytes(kinds[number % 3] if number != 7 else b"broken" * 9)
    return folder


def test_two_workers_give_the_rows_of_one_process(process, command, clips, tmp_path) -> None:
    pytest.importorskip("ray")
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    assert command("batch", clips, "--out", one, *COMMON, "1").returncode == 1
    done = process("batch", clips, "--out", two, *COMMON, "2", "--engine", "ray", "--json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1
    wanted, found = pq.read_table(one), pq.read_table(two)
    assert wanted.schema.equals(found.schema)
    assert len(found) == 40
    for row, other in zip(found.to_pylist(), wanted.to_pylist(), strict=True):
        for name, value in row.items():
            if name.startswith("score_") and value is not None:
                assert value == pytest.approx(other[name], abs=1e-6)
            else:
                assert value == other[name]
    assert {*tmp_path.iterdir()} == {one, two}


def test_without_ray_it_says_how_to_get_it(command, clips, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ("batch", clips / "3.mp4", "--out", tmp_path / "o.parquet")
    done = command(*arguments, *COMMON, "1", "--engine", "ray")
    assert done.returncode == 1
    assert "pip install 'claip-emo[scale]'" in done.stderr
    done = command(*arguments, *COMMON, "1")  # it goes on with the other engine
    assert done.returncode == 0
