"""Hostile senders and files: each gets its code, the next request works, nothing remains."""

from __future__ import annotations

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.hostile import mutated

from claip_emo.serving import uploads

from ..media.make_media import ramp, tone, write
from ..processes import is_there
from .client import BOUNDARY, form, head, heard
from .conftest import LIMITS, served

FUZZED = 50  # a twentieth of what the whole trial has
ALLOWED = {200, 400, 413, 415, 503, 504}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    frames, sound = ramp(12, 48, 64), tone(0.5)
    paths = [
        write(folder / "a.mp4", frames, sound),
        write(folder / "b.webm", frames),
        write(folder / "c.wav", None, sound),
        write(folder / "d.mkv", frames, sound),
        write(folder / "e.avi", frames, sound),
        write(folder / "f.flac", None, sound),
    ]
    return [path.read_bytes() for path in paths]


def test_mutated_files_get_an_answer_each(client, server, both, originals) -> None:
    rng, seen = random.Random(0), []
    for number in range(FUZZED):
        answer = client.post(mutated(originals[number % len(originals)], rng))
        seen.append(answer.status)
        assert answer.status in ALLOWED, answer.body
        if answer.status != 200:
            assert answer.code
    assert {200, 400} <= {*seen}
    assert client.post(both).status == 200
    assert sum(map(is_there, server[1].pids)) == LIMITS.workers


def test_an_upload_without_an_end_is_cut(client, server) -> None:
    before = server[1].metrics.in_flight._value.get()
    with client.raw() as connection:
        connection.sendall(head(None))
        start = form(b"\x1aE\xdf\xa3" + bytes(1000)).partition(
            b"\r\n--" + BOUNDARY.encode() + b"--"
        )[0]
        connection.sendall(b"%x\r\n%s\r\n" % (len(start), start))
        block = bytes(100_000)
        sent = 0
        try:
            while sent < 50 * LIMITS.max_bytes:
                connection.sendall(b"%x\r\n%s\r\n" % (len(block), block))
                sent += len(block)
                if waits(connection):
                    break
        except OSError:
            pass
        answer = heard(connection)
    assert (answer.status, answer.code) == (413, "too_large")
    assert sent < 10 * LIMITS.max_bytes
    assert server[1].metrics.in_flight._value.get() == before


def waits(connection: socket.socket) -> bool:
    """Whether something has come."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        connection.setblocking(True)


def test_a_large_upload_is_refused_before_it_comes(client) -> None:
    with client.raw() as connection:
        expecting = head(10 * LIMITS.max_bytes).replace(
            b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(expecting)
        begun = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.code) == (413, "too_large")
    assert time.monotonic() - begun < 2


def test_a_slow_upload_is_given_up(client) -> None:
    with client.raw() as connection:
        connection.sendall(head(5000) + form(b"\x1aE\xdf\xa3" + bytes(1000))[:500])
        begun = time.monotonic()
        answer = heard(connection)
    assert (answer.status, answer.code) == (408, "upload_timeout")
    assert LIMITS.upload_s - 0.1 < time.monotonic() - begun < LIMITS.upload_s + 5


def test_an_upload_that_breaks_off_leaves_nothing(client, server) -> None:
    for _ in range(5):
        with client.raw() as connection:
            connection.sendall(head(50_000) + form(b"\x1aE\xdf\xa3" + bytes(9000))[:5000])
    until = time.monotonic() + 5
    while server[1].metrics.in_flight._value.get() and time.monotonic() < until:
        time.sleep(0.01)
    assert server[1].metrics.in_flight._value.get() == 0


def test_a_full_disk_is_told_and_does_not_last(client, both, monkeypatch) -> None:
    class Full:
        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    whole = uploads._Form.__init__

    def full(form, upload, boundary, _, *others) -> None:
        whole(form, upload, boundary, Full(), *others)

    monkeypatch.setattr(uploads._Form, "__init__", full)
    answer = client.post(both)
    assert (answer.status, answer.code) == (503, "no_room")
    assert answer.headers["retry-after"] == "1"
    monkeypatch.undo()
    assert client.post(both).status == 200


def test_too_many_at_once_are_told_to_come_again(client, server, both) -> None:
    """Slow uploads fill the waiting room; who comes then is refused, and is served afterwards."""
    most = LIMITS.workers + LIMITS.waiting
    body = form(both.read_bytes())
    held = []
    try:
        for _ in range(most):
            connection = client.raw()
            connection.sendall(head(len(body)) + body[:1000])
            held.append(connection)
        until = time.monotonic() + 5
        while server[1].metrics.in_flight._value.get() < most and time.monotonic() < until:
            time.sleep(0.01)
        answer = client.post(both)
        assert (answer.status, answer.code) == (429, "busy")
        assert answer.headers["retry-after"] == "1"
        for connection in held:
            connection.sendall(body[1000:])
        assert [heard(connection).status for connection in held] == [200] * most
    finally:
        for connection in held:
            connection.close()
    assert client.post(both).status == 200


def test_many_at_once_are_scored_together_and_none_is_mixed_up(recognizer, tmp_path) -> None:
    files = [write(tmp_path / f"{n}.mp4", ramp(6 + n), tone(0.3 + 0.1 * n)) for n in range(8)]
    wanted = [recognizer(file).scores for file in files]
    with served(recognizer) as (client, _, _), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.post, files * 2))
        for answer, scores in zip(answers, wanted * 2, strict=True):
            assert answer.status in (200, 429)
            if answer.status == 200:
                assert answer.json["scores"] == pytest.approx(scores, abs=1e-5)
        assert sum(answer.status == 200 for answer in answers) >= 8
