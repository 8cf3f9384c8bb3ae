"""How near the towers' forward pass comes to this machine's GEMM rate, and each stage's roofline.

The share is operations counted on what is computed (not on what transformers would compute: of the
last layer we need one token), divided by seconds, divided by the rate of a square GEMM of the same
number format, timed in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.arithmetic import count
from benchmarks.claim import Check, Claim, Options
from benchmarks.measuring import interleaved, say
from benchmarks.models import build
from claip_emo.model.clip_vit import PackedCLIPVision
from claip_emo.model.htsat import pack
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.precision import Precision, has_bf16
from claip_emo.model.processing import ClaipEmoProcessor

SHARE = 0.75
PAIRS = 5
DTYPES: dict[Precision, str] = {"bf16": "bfloat16", "fp32": "float32"}


@torch.inference_mode()
def measure(options: Options) -> Claim:
    """Time forward passes beside GEMMs, in both number formats."""
    rates = {p: machine.gemm_rate(dtype, _gemm_size(p)) for p, dtype in DTYPES.items()}
    rows: dict[str, dict[str, Any]] = {}
    stages: dict[str, Any] = {}
    for backbone in options.towers("vit-b32", "vit-b16", quick=("vit-b32", "vit-b16")):
        model, processor = build(backbone)
        for precision in DTYPES:
            frames = 1 if _emulated(precision) else 16
            tower = PackedCLIPVision(model.vision_tower, precision)
            side = processor.settings.image_size_px
            inputs = torch.randn(frames, 3, side, side)
            name = f"{backbone} {precision}"
            rows[name] = _share(tower, inputs, precision) | {"frames": frames}
            say(f"{name}: {rows[name]['share']}")
        for precision in DTYPES if not stages else ():
            sound = torch.randn(1, processor.settings.samples)
            mel = processor(waveforms=sound)["input_features"]
            name = f"HTS-AT {precision}"
            rows[name] = _share(pack(model.audio_tower, precision), mel, precision)
            say(f"{name}: {rows[name]['share']}")
        stages[backbone] = _stages(model, processor)
    enough = has_bf16("cpu")  # products that are emulated are so slow that nothing else counts
    checks = [
        Check(
            f"{name}: forward, share of the GEMM rate" + ("" if enough else " (both emulated)"),
            row["share"]["median"],
            "share",
            SHARE,
            enough=enough,
        )
        for name, row in rows.items()
        if name.endswith("bf16") and not name.startswith("HTS-AT")
    ]
    checks.sort(key=lambda check: check.figure)
    copy_gbs = machine.copy_rate()
    for row in rows.values():  # why a share is what it is: what bytes take beside operations
        row["bytes_alone_s"] = row["gbytes"] / copy_gbs
    details = {
        "forward": rows,
        "gemm_gflops": rates,
        "copy_gbs": copy_gbs,
        "stages": stages,
    }
    baseline = {"what": "bf16 GEMM", "figure": rates["bf16"], "unit": "GFLOP/s"}
    return Claim("bf16", tuple(checks), baseline, details)


def _emulated(precision: Precision) -> bool:
    """Whether products take so long that fewer frames and smaller matrices have to do."""
    return precision == "bf16" and not has_bf16("cpu")


def _gemm_size(precision: Precision) -> int:
    return machine.GEMM_SIZE // 2 if _emulated(precision) else machine.GEMM_SIZE


def _share(tower: nn.Module, inputs: Tensor, precision: Precision) -> dict[str, Any]:
    """Time a tower and a GEMM in turn; return their rates and the share, pair by pair."""
    size = _gemm_size(precision)
    work = count(partial(tower, inputs))
    flop = work.flop
    jobs = {"gemm": machine.gemm(DTYPES[precision], size), "forward": partial(tower, inputs)}
    timed = interleaved(jobs, PAIRS)
    gemms = [2 * size**3 / s / 1e9 for s in timed["gemm"].seconds]
    forwards = [flop / s / 1e9 for s in timed["forward"].seconds]
    shares = [forward / gemm for forward, gemm in zip(forwards, gemms, strict=True)]
    return {
        "gflop": flop / 1e9,
        "gbytes": work.bytes / 1e9,
        "forward_s": timed["forward"].median,
        "operations_alone_s": flop / 1e9 / median(gemms),
        "gemm_gflops": median(gemms),
        "forward_gflops": median(forwards),
        "share": {"median": median(shares), "least": min(shares), "most": max(shares)},
        "pairs": PAIRS,
    }


def _stages(model: ClaipEmoModel, processor: ClaipEmoProcessor) -> dict[str, dict[str, float]]:
    """Return operations, bytes and seconds of what is done with one view, stage by stage, fp32."""
    settings = processor.settings
    side, time_ = settings.image_size_px, settings.num_frames
    frames = torch.randint(0, 256, (1, time_, side, side, 3), dtype=torch.uint8)
    sound = torch.randn(1, settings.samples)
    pixels = processor(frames=frames)["pixel_values"]
    mel = processor(waveforms=sound)["input_features"]
    vision = PackedCLIPVision(model.vision_tower, "fp32")
    audio = pack(model.audio_tower, "fp32")
    seen = vision(pixels[0])[None]  # (1, T, D)
    face, voice = model.temporal(seen), audio(mel)
    jobs: dict[str, Callable[[], Any]] = {
        "pixels": partial(processor, frames=frames),
        "mel": partial(processor, waveforms=sound),
        "vision tower": partial(vision, pixels[0]),
        "audio tower": partial(audio, mel),
        "temporal": partial(model.temporal, seen),
        "head": partial(model.head, voice, face),
    }
    found = {}
    for name, job in jobs.items():
        work = count(job)
        seconds = []
        for _ in range(PAIRS):
            begin = time.perf_counter()
            job()
            seconds.append(time.perf_counter() - begin)
        found[name] = {
            "operations": work.flop + work.elements,
            "bytes": work.bytes,
            "seconds": median(seconds),
        }
    return found
