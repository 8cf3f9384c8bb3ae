"""Python code in a process of its own."""

import subprocess
import sys
import textwrap
from typing import Any


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    """Run code to its end; what it printed is text. A hang ends after three minutes."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        text=True,
        timeout=180,
        check=False,
        **streams,
    )
