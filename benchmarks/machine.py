"""What this machine is, and what it can do at best: GEMM and copy rates."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

GEMM_SIZE = 2048  # of the square matrices; larger ones are no faster on two cores
COPY_BYTES = 256 * 2**20  # far more than any cache holds
LIBRARIES = ("torch", "transformers", "peft", "numpy", "opencv-python-headless", "pillow", "av")


def describe() -> dict[str, Any]:
    """Return processor, cores, memory, instructions for bf16 and int8, and versions."""
    import torch

    from claip_emo.model.packing import has_vnni
    from claip_emo.model.precision import has_bf16

    missing = [] if has_bf16("cpu") else ["bf16: emulated, far slower than float32"]
    missing += [] if has_vnni() else ["VNNI: 8-bit products gain little"]
    return {
        "processor": _from("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "memory_gib": round(int((_from("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "missing_instructions": missing,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def _from(path: str, field: str) -> str | None:
    """Return the first value of a field in a file of ``name : value`` lines."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((ln.partition(":")[2].strip() for ln in lines if ln.startswith(field)), None)


def gemm_rate(dtype_name: str, size: int, rounds: int = 5) -> float:
    """Return the GFLOP/s of a square matrix product: ``float32`` or ``bfloat16``."""
    run = gemm(dtype_name, size)
    run()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / median(seconds) / 1e9


def gemm(dtype_name: str, size: int) -> Any:
    """Return a function that multiplies two square matrices."""
    import torch

    dtype = getattr(torch, dtype_name)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(size, size, generator=generator).to(dtype) for _ in range(2))
    return functools.partial(torch.nn.functional.linear, one, other)


def copy_rate(rounds: int = 5) -> float:
    """Return the GB/s of a copy, read and written bytes together."""
    import torch

    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - begin)
    return 2 * COPY_BYTES / median(seconds) / 1e9


def commit() -> str | None:
    """Return the commit of the checkout, with a plus where files differ; None outside of one."""
    folder = Path(__file__).parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def command(module: str = "benchmarks") -> str:
    """Return what was typed."""
    return " ".join([f"python -m {module}", *sys.argv[1:]])
