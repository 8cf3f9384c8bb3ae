"""Whether processes run, and which ones a process has started."""

import time
from pathlib import Path

from benchmarks.batch import children as children


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within_s: float = 10) -> bool:
    until = time.monotonic() + within_s
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_there(pid)
