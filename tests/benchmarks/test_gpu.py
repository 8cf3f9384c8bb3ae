"""The GPU's benchmark at tiny size on the CPU: every row, what is left out, what fails."""

import json
from types import SimpleNamespace

import pytest
import torch
from benchmarks.gpu_training import Training, Way, largest, operations, peak_tflops
from benchmarks.models import build

from benchmarks import gpu, gpu_training
from claip_emo.model import attention

CPU = torch.device("cpu")


def run(tmp_path, capsys, *more: str) -> dict:
    out = tmp_path / "results" / "gpu.json"
    gpu.main(["--device", "cpu", "--backbones", "tiny-clip", "--quick", "--out", str(out), *more])
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(out.read_text()) == printed
    return printed


def test_every_configuration_is_a_row(tmp_path, capsys, monkeypatch) -> None:
    compiled = []
    monkeypatch.setattr(gpu, "COMPILES", ("cpu",))
    monkeypatch.setattr(gpu_training, "compile_towers", compiled.append)
    found = run(tmp_path, capsys, "--peak-tflops", "2", "--precision", "bf16")
    assert found["complete"] is True
    rows = found["rows"]
    assert [(r["name"], r["compiled"], r["checkpointing"]) for r in rows] == [
        ("released", False, False), ("ours", False, False), ("ours", False, True),
        ("ours", True, False), ("ours", True, True),
    ]  # fmt: skip
    assert [row["precision"] for row in rows] == ["fp32", *["bf16"] * 4]
    assert [row.get("largest_batch") for row in rows] == [4, 4, 4, None, None]
    assert [row["batch"] for row in rows] == [2] * 5
    assert len(compiled) == 2
    needed = found["towers"]["tiny-clip"]["gflop_per_clip"]
    for row in rows:
        rate = row["clips_per_second"]
        assert rate == pytest.approx(2 / row["step"]["median_s"], rel=0.01)
        assert row["utilisation"] == pytest.approx(rate * needed / 2000, rel=0.01)
        bytes_a_clip = 3 * 16 * 32**2 + 4 * 2.55 * 48_000
        assert row["loader"]["mb_per_second"] == pytest.approx(rate * bytes_a_clip / 1e6, rel=0.01)
        assert row["times_released"] == pytest.approx(rate / rows[0]["clips_per_second"], rel=0.01)
        if row["name"] == "ours":
            assert 0 < row["times_released_augmented"] < row["times_released"]


def test_what_fails_is_a_row_and_what_was_measured_is_kept(tmp_path, capsys, monkeypatch) -> None:
    steps = gpu.Run._steps

    def failing(self, training, batch):
        if training.model.__class__.__name__ == "ReleasedModel":
            raise RuntimeError("an illegal instruction")
        if self.rows[-1]["name"] == "ours":
            raise KeyboardInterrupt
        return steps(self, training, batch)

    monkeypatch.setattr(gpu.Run, "_steps", failing)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, capsys)
    kept = json.loads((tmp_path / "results" / "gpu.json").read_text())
    assert kept["complete"] is False
    assert kept["rows"][0]["error"] == "RuntimeError: an illegal instruction"
    assert kept["rows"][1]["clips_per_second"] > 0
    assert "times_released" not in kept["rows"][1]


def test_nothing_is_begun_when_the_time_is_over(tmp_path, capsys) -> None:
    found = run(tmp_path, capsys, "--minutes", "0.4")
    assert found["rows"] == []
    assert [row["name"] for row in found["left_out"]] == ["released", "ours", "ours"]


def test_without_a_gpu_the_mend_is_named(capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == 2
    assert "--device cpu --backbones tiny-clip --quick" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 13, 31, 64])
def test_the_largest_batch_is_found_within_an_eighth(limit: int) -> None:
    tried = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= limit

    found, exact = largest(fits, 64)
    assert exact is (limit < 64)
    assert found <= limit <= found + max(1, found // 8)
    assert max(tried) <= 64
    assert len(tried) < 14


def test_the_largest_batch_is_not_sought_for_ever(monkeypatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(gpu_training, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert largest(lambda batch: True, 64, seconds=1) == (1, False)
    assert largest(lambda batch: True, 64, seconds=2) == (2, False)
    assert largest(lambda batch: False, 64, seconds=0) == (0, True)
    found, exact = largest(lambda batch: batch <= 40, 64, seconds=8)
    assert not exact
    assert 32 <= found <= 40


def test_a_batch_that_does_not_fit_leaves_the_training_as_it_was() -> None:
    training = Training(*build("tiny-clip"), Way("ours"), "fp32", CPU)
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    loss = training.loss

    def out_of_memory(inputs):
        loss(inputs).backward()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    training.loss = out_of_memory
    assert training.fits(1) is False
    assert all(p.grad is None for p in training.model.parameters())
    assert all(torch.equal(p, before[n]) for n, p in training.model.named_parameters())
    training.loss = lambda inputs: torch.zeros(2) + torch.zeros(3)
    with pytest.raises(RuntimeError, match="must match"):  # another error is no lack of memory
        training.fits(1)


def test_both_ways_take_the_same_step() -> None:
    """What is compared is the same training: one loss, and the same gradients of the adapters."""
    model, processor = build("tiny-clip")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for tower in (model.vision_tower, model.audio_tower):
        for module in tower.modules():
            if hasattr(module, "drop_prob"):
                module.drop_prob = 0.0
    found = []
    for way in (Way("ours"), Way("ours", checkpointing=True), Way("released")):
        training = Training(model, processor, way, "fp32", CPU)
        torch.manual_seed(0)
        loss = training.loss(training.inputs(2))
        loss.backward()
        gradients = [p.grad for p in training.model.parameters() if p.grad is not None]
        found.append((loss.detach(), gradients))
    for loss, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-4, atol=1e-5)
        for one, other in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_operations_are_those_of_one_clip_and_of_what_is_needed(monkeypatch) -> None:
    monkeypatch.setattr(attention, "has_bf16", lambda _: False)  # it computes scores a second time
    model, processor = build("tiny-clip")
    ours, released = (
        operations(Training(model, processor, Way(name), "fp32", CPU))
        for name in ("ours", "released")
    )
    # By hand, CLIP's forward pass: 16 frames of 5 tokens, 2 layers of width 32 and an MLP of 64.
    tokens, width, mlp = 5, 32, 64
    layer = 2 * tokens * width * (4 * width + 2 * mlp) + 4 * tokens**2 * width
    clip = 16 * (2 * layer + 2 * 4 * 3 * 16**2 * width)
    assert clip < ours < released < 20 * clip
    assert operations(Training(model, processor, Way("ours"), "bf16", CPU)) == ours


def test_cards_are_known_by_their_names() -> None:
    assert peak_tflops("NVIDIA H100 80GB HBM3")["bf16"] == 989.4
    assert peak_tflops("NVIDIA H100 PCIe")["bf16"] == 756.0
    assert peak_tflops("NVIDIA A100-SXM4-80GB")["fp32"] == 19.5
    assert peak_tflops("NVIDIA L4")["bf16"] == 121.0
    assert peak_tflops("NVIDIA A10G") is None
    assert peak_tflops("Something else") is None
