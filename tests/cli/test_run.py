"""The end of a command's process: nothing is lost, nothing hangs."""

import os
from pathlib import Path

import pytest

from ..processes import run_python

BEGIN = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from claip_emo.cli.main import run
sys.argv = ["claip-emo", *sys.argv[1:]]
"""


def test_a_pool_that_idles_does_not_hold_it() -> None:
    done = run_python(BEGIN + "pool = ThreadPoolExecutor(1)\npool.submit(int)\nrun()", "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "claip-emo")


def test_threads_are_waited_for_and_exit_functions_run() -> None:
    late = "threading.Thread(target=lambda: (time.sleep(0.5), print('late'))).start()\n"
    done = run_python(BEGIN + late + "atexit.register(print, 'last')\nrun()", "--version")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["late", "last"]


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["predict", "--no"], 2)])
def test_the_exit_code_is_that_of_the_command(arguments, code) -> None:
    assert run_python(BEGIN + "run()", *arguments).returncode == code
    closed = run_python(BEGIN + "sys.stdout = sys.stderr = None\nrun()", *arguments)
    assert closed.returncode == code


def test_who_listens_no_more_is_not_told_a_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        done = run_python(BEGIN + "run()", "--version", stdout=broken)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_what_could_not_be_written_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = run_python(BEGIN + "run()", "--version", stdout=full)
    assert done.returncode == 1
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
