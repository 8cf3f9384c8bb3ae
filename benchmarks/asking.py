"""A server as a process, and requests to it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batch import children
from claip_emo.serving.folder import LOCK, PREFIX

BOUNDARY = "boundaryOfABenchmark"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The body, where it is JSON; else nothing."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


class Running:
    """A server that runs.

    Args:
        process: of the server.
        port: where it listens.
        before: folders of uploads that were there before it.
    """

    def __init__(self, process: subprocess.Popen[str], port: int, before: set[Path]):
        """Know it."""
        self.pid, self._port, self._before = process.pid, port, before

    def post(self, content: bytes, route: str = "predict") -> Answer:
        """Upload a file."""
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            connection.request("POST", f"/v1/{route}", HEAD + content + TAIL, kind)
            answer = connection.getresponse()
            body = answer.read()
            return Answer(answer.status, body, time.perf_counter() - begun)
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """Ask for something."""
        begun = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), time.perf_counter() - begun)
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Say whether it takes requests."""
        try:
            return self.get("/readyz").status == 200
        except OSError:  # it does not listen yet
            return False

    def processes(self) -> int:
        """Return how many processes it has started that are still there."""
        return len(children(self.pid))

    def files(self) -> int:
        """Return how many uploads lie on the disk."""
        files = (file for folder in uploads() - self._before for file in folder.rglob("*"))
        return sum(file.is_file() and file.name != LOCK for file in files)


def uploads() -> set[Path]:
    """Return the folders in which servers keep uploads while they are looked at."""
    return {*Path(tempfile.gettempdir()).glob(f"{PREFIX}*")}


@contextmanager
def running_server(*options: str) -> Iterator[Running]:
    """Yield a server of the small model, which ends afterwards."""
    before = uploads()
    command = [sys.executable, "-m", "claip_emo.cli.main", "serve", "--port", "0", "--no-page"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        port = next(
            int(found[1])
            for line in process.stderr or ()
            if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line))
        )
        threading.Thread(target=process.stderr.read, daemon=True).start()  # type: ignore[union-attr]
        server = Running(process, port, before)
        until = time.monotonic() + 60
        while not server.is_ready() and time.monotonic() < until:
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(90)
