"""A server of the small model in a thread of this process, and clips to send it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from claip_emo import EmotionRecognizer
from claip_emo.inference.predictor import load_predictor
from claip_emo.model.checkpoint_folder import packaged
from claip_emo.serving.api import make_app
from claip_emo.serving.limits import Limits
from claip_emo.serving.server import Server, bound
from claip_emo.serving.service import Service, service

from ..media.make_media import ramp, tone, write
from .client import Client

LIMITS = Limits(
    max_bytes=2_000_000, max_duration_s=20.0, max_pixels=640 * 480, workers=2, waiting=6,
    upload_s=5.0, predict_s=20.0,
)  # fmt: skip


@pytest.fixture(scope="session")
def recognizer() -> EmotionRecognizer:
    return EmotionRecognizer(load_predictor(packaged()), face_detector="haar")


@contextmanager
def served(
    recognizer: EmotionRecognizer,
    limits: Limits = LIMITS,
    api_key: str | None = None,
    page: str | None = None,
) -> Iterator[tuple[Client, Service, Server]]:
    """Serve; with a page where it is told which model answers."""
    with service(recognizer, limits) as made:
        listening = bound("127.0.0.1", 0)
        app = make_app(made, api_key)
        if page is not None:
            from claip_emo.serving.page import add_page

            app = add_page(app, made, api_key, page)
        server = Server(app, made, "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        client = Client(listening.getsockname()[1])
        client.wait()
        yield client, made, server
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
    assert not made.uploads.exists()


@pytest.fixture(scope="session")
def server(recognizer) -> Iterator[tuple[Client, Service, Server]]:
    with served(recognizer) as found:
        yield found


@pytest.fixture
def client(server) -> Iterator[Client]:
    """Asks the server, which has forgotten everything afterwards."""
    yield server[0]
    until = time.monotonic() + 10
    while [*server[1].uploads.iterdir()] and time.monotonic() < until:
        time.sleep(0.01)
    assert [*server[1].uploads.iterdir()] == []


@pytest.fixture(scope="session")
def both(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("served") / "both.mp4", ramp(40), tone(1.6))
