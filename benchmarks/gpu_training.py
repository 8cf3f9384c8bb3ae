"""A training step of ours or of the released way on one device: time, memory, operations."""

from __future__ import annotations

import copy
import gc
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Timing
from benchmarks.released import ReleasedModel
from claip_emo.data.augment import Augmentation
from claip_emo.media.clip import Clip
from claip_emo.model.batching import stack, to_device
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import AugmentRecipe
from claip_emo.training.arithmetic import adamw, compile_towers
from claip_emo.training.schedule import parameter_groups

PEAK_TFLOPS = {
    "H100 PCIe": {"bf16": 756.0, "fp32": 51.0},
    "H100 NVL": {"bf16": 835.0, "fp32": 60.0},
    "H100": {"bf16": 989.4, "fp32": 66.9},
    "H200": {"bf16": 989.4, "fp32": 66.9},
    "GH200": {"bf16": 989.4, "fp32": 66.9},
    "A100": {"bf16": 312.0, "fp32": 19.5},
    "A10": {"bf16": 125.0, "fp32": 31.2},
    "L4": {"bf16": 121.0, "fp32": 30.3},
    "L40S": {"bf16": 362.0, "fp32": 91.6},
    "RTX 3090": {"bf16": 71.0, "fp32": 35.6},
    "RTX 4090": {"bf16": 165.2, "fp32": 82.6},
}
"""Dense products by NVIDIA's data sheets: bf16 on tensor cores, fp32 without them."""

WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Way:
    """How a step is computed."""

    name: str
    compiled: bool = False
    checkpointing: bool = False


class Training:
    """A model on the device, and steps of it on batches of noise.

    Args:
        model: on the CPU, left as it is.
        processor: what its towers see.
        way: how a step is computed.
        precision: of the products; the released way's is float32.
        device: where.
    """

    def __init__(
        self,
        model: ClaipEmoModel,
        processor: ClaipEmoProcessor,
        way: Way,
        precision: str,
        device: torch.device,
    ):
        """Build what a step needs."""
        self.settings = processor.settings
        self.device = device
        own = copy.deepcopy(model).to(device).train()
        self.classes = len(own.config.labels)
        if way.checkpointing:
            own.gradient_checkpointing_enable()
        if way.compiled:
            compile_towers(own)
        self.precision = "fp32" if way.name == "released" else precision
        if way.name == "released":
            self.model: nn.Module = ReleasedModel(own).train()
            trained = [p for p in own.parameters() if p.requires_grad]
            self.optimiser = torch.optim.AdamW(trained, lr=4e-5, weight_decay=0.05)
        else:
            self.model = own
            self.optimiser = adamw(parameter_groups(own.named_parameters(), 0.05), 4e-5)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Return noise as the towers take it."""
        seen = self.settings
        side = seen.image_size_px
        shape = batch, seen.num_frames, seen.image_channels, side, side
        mel = batch, *seen.mel_shape
        return {
            "pixel_values": torch.randn(shape, device=self.device),
            "input_features": torch.randn(mel, device=self.device) * 20 - 40,  # dB
        }

    def loss(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch against even targets."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.model(**inputs)
        logits = outputs if isinstance(outputs, Tensor) else outputs.logits
        targets = torch.full_like(logits, 1 / self.classes, dtype=torch.float32)
        return functional.cross_entropy(logits.float(), targets)

    def step(self, inputs: dict[str, Tensor]) -> None:
        """Move the weights once."""
        self.loss(inputs).backward()
        self.optimiser.step()
        self.optimiser.zero_grad()

    def fits(self, batch: int) -> bool:
        """Say whether a step of a batch fits into the memory; what it took is given back."""
        try:
            self.step(self.inputs(batch))
            synchronise(self.device)
            return True
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        finally:
            self.optimiser.zero_grad()
        free()  # outside of the handler, whose traceback holds the tensors
        return False


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether memory was short; cuBLAS and cuDNN have words of their own for it."""
    short = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in short)


def free() -> None:
    """Give back the memory that nothing refers to."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def largest(
    fits: Callable[[int], bool], most: int, seconds: float = float("inf")
) -> tuple[int, bool]:
    """Find the largest batch that fits, up to ``most``.

    Returns:
        It, 0 where none does; and whether it is known within an eighth: not where ``most`` fits,
        or the seconds were over before.
    """
    end = time.monotonic() + seconds
    good, bad = 0, 1
    while fits(bad):
        good, bad = bad, 2 * bad
        if bad > most or time.monotonic() >= end:
            return good, False
    while bad - good > max(1, good // 8):
        if time.monotonic() >= end:
            return good, False
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good, True


def timed(run: Callable[[], object], device: torch.device, seconds: float) -> Timing:
    """Time a step again and again, each from an idle device to an idle device."""
    for _ in range(WARM_UP):
        run()
    found: list[float] = []
    while len(found) < 3 or sum(found) < seconds:
        synchronise(device)
        begin = time.perf_counter()
        run()
        synchronise(device)
        found.append(time.perf_counter() - begin)
    return Timing(tuple(found))


def operations(training: Training) -> int:
    """Count the operations that a step needs for one clip: forward and backward, in products.

    Attention is computed as plain products while it is counted: not every kernel's are known.
    """
    inputs = training.inputs(1)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        training.loss(inputs).backward()
    training.optimiser.zero_grad()
    return counter.get_total_flops()


def peak_tflops(card: str) -> dict[str, float] | None:
    """Return what a card can do at best by its data sheet; None: it is not in the table."""
    names = sorted(PEAK_TFLOPS, key=len, reverse=True)
    found = next((name for name in names if re.search(rf"\b{name}\b", card)), None)
    return PEAK_TFLOPS[found] if found else None


def gemm_tflops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Measure the product of two square matrices."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / timed(lambda: one @ other, device, 0.5).median / 1e12


def augmentation_s(processor: ClaipEmoProcessor, device: torch.device, batch: int = 8) -> float:
    """Measure the paper's augmentation of a batch on the device, in seconds per clip."""
    seen, rng = processor.settings, np.random.default_rng(0)
    shape = 1, seen.num_frames, seen.image_size_px, seen.image_size_px, 3
    clips = [
        Clip(
            "noise",
            rng.integers(0, 256, shape, np.uint8),
            np.zeros(shape[:2]),
            (rng.standard_normal(seen.samples, np.float32),),
            ((0.0, seen.audio_s),),
            seen.audio_s,
        )
        for _ in range(batch)
    ]
    stacked = to_device(stack(clips) | {"labels": torch.zeros(batch, dtype=torch.long)}, device)
    augment = Augmentation(AugmentRecipe(), processor, 7, 0.1)
    return timed(lambda: augment(stacked, rng), device, 0.5).median / batch
