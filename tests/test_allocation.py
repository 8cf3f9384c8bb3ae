"""The process keeps what it frees: blocks that are taken again are not faulted in again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from claip_emo.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def work():
    return [np.ones(5_000_000, np.float32) for _ in range(4)]
for _ in range(2):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_taken_again() -> None:
    counts = {}
    for way in ("kept", "as it is"):
        run = [sys.executable, "-c", FAULTS, way]
        asked = subprocess.run(run, capture_output=True, text=True, check=True)
        counts[way] = int(asked.stdout)
    assert counts["as it is"] > 8 * 1000  # pages, each time
    assert counts["kept"] < counts["as it is"] / 10
