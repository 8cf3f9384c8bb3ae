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

from .conftest import described, small

# Starts the command twice with what torchrun tells its processes, but imports everything once.
TWICE = """
import os, socket, sys
import claip_emo.evaluation.evaluate, claip_emo.training.fit
from claip_emo.cli.main import main

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
children = []
for rank in ("0", "1"):
    if not (child := os.fork()):
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
        main()
        sys.exit()
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )


def twice(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in two processes on the CPU (gloo)."""
    return run("-c", TWICE, *arguments)


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


def test_two_processes_predict_what_one_does(clips, tmp_path, quiet, one_thread) -> None:
    run = train(small(clips, epochs=1), tmp_path / "run", device="cpu", console=quiet).out
    out = tmp_path / "two"
    done = twice(
        "evaluate", "--model", run, "--table", clips, "--out", out, "--device", "cpu",
        "--face-detector", "none", "--batch-size", 3, "--workers", 0, "--explain", 1, "--json",
    )  # fmt: skip
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
    recipe_file.write_text(json.dumps(described(clips, epochs=2, batch_size=2)))
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


def test_a_mistake_is_told_once_and_ends_all(tmp_path) -> None:
    done = twice("train", "csv", "--data", tmp_path / "no.csv", "--out", tmp_path / "r")
    assert done.returncode != 0
    assert done.stderr.count("no.csv does not exist") == 1
    assert "claip_emo/corpora" not in done.stderr  # no traceback of ours
