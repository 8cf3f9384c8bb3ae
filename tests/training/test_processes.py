"""Two processes, as torchrun starts them, do what one does: each row once, written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from claip_emo.evaluation.evaluate import evaluate_data
from claip_emo.evaluation.predictions import Predictions
from claip_emo.recipe import DataRecipe
from claip_emo.training.fit import train

from ..conftest import Done
from .conftest import described, small

# Imports everything once and forks: each command in two processes, with what torchrun tells them.
TWICE = """
import gc, json, os, socket, sys
gc.disable()
import claip_emo.evaluation.evaluate, claip_emo.training.fit
from claip_emo.cli.main import main

os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
for name, words in json.loads(sys.argv[1]).items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(free.getsockname()[1])
    children = []
    for rank in ("0", "1"):
        if not (child := os.fork()):
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
            for stream, kind in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{name}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            sys.argv = ["claip-emo", *words]
            main()
            sys.exit()
        children.append(child)
    print(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


@pytest.fixture(scope="module")
def twice(clips, tmp_path_factory) -> dict[str, Done | Path]:
    """What commands did in two processes on the CPU (gloo), by name; files lie in ``folder``."""
    folder = tmp_path_factory.mktemp("twice")
    train(small(clips, epochs=1), folder / "run", device="cpu", console=Console(quiet=True))
    commands = {
        "evaluate": [
            "evaluate", "--model", folder / "run", "--table", clips, "--out", folder / "two",
            "--device", "cpu", "--face-detector", "none", "--batch-size", 3, "--workers", 0,
            "--explain", 1, "--json",
        ],
        "mistake": ["train", "csv", "--data", folder / "no.csv", "--out", folder / "r"],
    }  # fmt: skip
    told = {str(folder / name): list(map(str, words)) for name, words in commands.items()}
    done = run("-c", TWICE, json.dumps(told))
    codes = [int(line) for line in done.stdout.splitlines()]
    assert len(codes) == len(commands), done.stderr
    return {
        name: Done(code, *((folder / f"{name}.{kind}").read_text() for kind in ("out", "err")))
        for name, code in zip(commands, codes, strict=True)
    } | {"folder": folder}


def launched(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in two processes on the CPU (gloo), started by torchrun itself."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return run(*launcher, "-m", "claip_emo.cli.main", *arguments)


@pytest.fixture
def one_thread():
    """What the launched processes have; sums of more threads differ in their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scored_alone(model: Path, table: Path, out: Path, **options: object) -> bytes:
    evaluate_data(
        model, DataRecipe(root=str(table)), out, device="cpu", face_detector="none", workers=0,
        console=Console(quiet=True), **options,
    )  # fmt: skip
    return (out / "predictions.parquet").read_bytes()


def test_two_processes_predict_what_one_does(clips, tmp_path, twice, one_thread) -> None:
    done, run, out = twice["evaluate"], twice["folder"] / "run", twice["folder"] / "two"
    assert done.returncode == 0, done.stderr
    assert len(list((out / "explanations").glob("*.webp"))) == 1  # by the first
    # 28 clips in batches of 3: the last one is smaller, and the processes have 5 batches each.
    assert (out / "predictions.parquet").read_bytes() == scored_alone(
        run, clips, tmp_path / "one", batch_size=3
    )
    rows = Predictions.read(out / "predictions.parquet")
    assert len(set(zip(rows.ids, rows.modality, strict=True))) == len(rows) == 3 * 28
    assert len(done.stdout.splitlines()) == 1  # spoken once
    assert json.loads(done.stdout) == json.loads((out / "metrics.json").read_text())


def test_two_processes_train_one_model(clips, tmp_path) -> None:
    recipe_file = tmp_path / "small.json"  # JSON is YAML
    recipe_file.write_text(json.dumps(described(clips, epochs=2, batch_size=2) | {"protocol": {}}))
    out = tmp_path / "two"
    done = launched("train", recipe_file, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    history = [json.loads(line) for line in (out / "history.jsonl").open()]
    steps = [row["step"] for row in history if row["event"] == "train"]
    assert steps == list(range(1, 9))  # 14 clips in batches of 2 x 2: 4 steps, twice, told once
    assert json.loads((out / "run.json").read_text())["batch"] == 4
    rows = Predictions.read(out / "predictions.parquet")
    assert len(rows) == 3 * 7
    # The model on disk is the one that was tested.
    scored_alone(out, clips, tmp_path / "again", split="test")
    same = Predictions.read(tmp_path / "again" / "predictions.parquet")
    np.testing.assert_allclose(same.scores, rows.scores, atol=1e-5)


def test_a_mistake_is_told_once_and_ends_all(twice) -> None:
    done = twice["mistake"]
    assert done.returncode != 0
    assert done.stderr.count("no.csv does not exist") == 1
    assert "claip_emo/corpora" not in done.stderr  # no traceback of ours
