"""The server as a process: it starts, asks for a key, and ends without losing a request."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from claip_emo.serving.api import make_app
from claip_emo.serving.server import Server
from claip_emo.serving.service import service

from ..processes import children, is_there
from .client import Client
from .conftest import LIMITS

ENTRY = [sys.executable, "-m", "claip_emo.cli.main", "serve", "--port", "0", "--no-page",
         "--face-detector", "haar"]  # fmt: skip


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen, Client]]:
    running = subprocess.Popen(
        [*ENTRY, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        for line in running.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail("it did not start")
        client = Client(int(found[1]))
        client.wait()
        yield running, client
    finally:
        running.kill()
        running.wait()


def test_a_signal_under_load_loses_no_request_that_was_accepted(both) -> None:
    """Several clients ask on and on; all that were answered have a row, or are told to go."""
    with process("--workers", "2") as (running, client):
        outcomes, refused = [], threading.Event()

        def ask() -> None:
            while not refused.is_set():
                try:
                    answer = client.post(both)
                except ConnectionRefusedError:
                    refused.set()  # nobody listens any more: it was never accepted
                    return
                outcomes.append(answer.status)
                if answer.status == 503:
                    assert answer.code == "shutting_down"
                    assert answer.headers["connection"] == "close"
                    return

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        while len(outcomes) < 6:
            time.sleep(0.01)
        started = children(running.pid)
        assert len(started) == 2
        running.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(30)
        assert running.wait(30) == 0
        lines = [json.loads(line) for line in running.stdout.read().splitlines()]
        posts = [line for line in lines if line["method"] == "POST"]
        assert {*outcomes} <= {200, 429, 503}
        assert outcomes.count(200) == sum(line["status"] == 200 for line in posts) >= 6
        assert len(outcomes) == len(posts)  # every request that came had its answer
        assert not any(map(is_there, started))


def test_it_ends_when_its_answers_have_left_it(recognizer) -> None:
    """Also where who asked reads slowly."""
    left = [50_000, 20_000, 0]
    line = SimpleNamespace(get_write_buffer_size=lambda: left.pop(0))
    with service(recognizer, LIMITS) as made:
        server = Server(make_app(made), made, "127.0.0.1", 0)
        lines = [SimpleNamespace(transport=line), SimpleNamespace(transport=None)]
        server.server_state.connections = lines
        asyncio.run(server._end())
        assert server.should_exit
    assert left == []


def test_it_ends_by_an_interrupt_when_nobody_asks() -> None:
    before = {*Path("/tmp").glob("claip-emo-*")}
    with process() as (running, client):
        assert client.get("/healthz").status == 200
        made = {*Path("/tmp").glob("claip-emo-*")} - before
        assert len(made) == 1
        begun = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(15) == 0
        assert time.monotonic() - begun < 5
        assert "Traceback" not in running.stderr.read()
        assert not made & {*Path("/tmp").glob("claip-emo-*")}


def test_while_it_ends_new_requests_are_told_so(both) -> None:
    """Somebody uploads slowly: what was accepted before the signal is still answered."""
    from .client import form, head, heard

    with process() as (running, client), client.raw() as slow:
        body = form(both.read_bytes())
        slow.sendall(head(len(body)) + body[:2000])
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        until = time.monotonic() + 5
        while client.get("/readyz").status == 200 and time.monotonic() < until:
            time.sleep(0.02)
        answer = client.post(both)
        assert (answer.status, answer.code) == (503, "shutting_down")
        slow.sendall(body[2000:])
        assert heard(slow).status == 200
        assert running.wait(15) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--api-key-file", "short"), "holds no key"),
        (("--api-key-file", "missing"), "missing"),
        (("--max-bytes", "0"), "--max-bytes"),
        (("--host", "203.0.113.7"), "cannot be listened on"),
        (("--model", "nowhere/x"), "nowhere/x"),
    ],
)
def test_wrong_options_are_refused(command, tmp_path, monkeypatch, options, says) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("secret\n")
    done = command("serve", "--no-page", "--port", "0", *options)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(command) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("serve", "--no-page", "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "--port" in done.stderr


def test_without_its_packages_it_says_how_to_get_them(command, monkeypatch) -> None:
    from claip_emo.serving import extra

    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "gradio" else object())
    done = command("serve", "--port", "0")
    assert done.returncode == 1
    assert "pip install 'claip-emo[serve]'" in done.stderr
    assert "--no-page does without it" in done.stderr
