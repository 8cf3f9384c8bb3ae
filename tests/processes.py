"""Python code in a process of its own, and whether processes run."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

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


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    """Run code to its end; what it printed is text. A hang ends after three minutes.

    It does not look for garbage: to go through all that it imports would take seconds.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(
        [sys.executable, "-c", f"import gc; gc.disable()\n{textwrap.dedent(code)}", *arguments],
        text=True,
        timeout=180,
        check=False,
        **streams,
    )
