"""The process of the server: it starts, serves, and ends without losing a request."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from claip_emo.serving.service import Service

KEEP_ALIVE_S = 15
LOOKS_EVERY_S = 0.05  # whether answers have been sent


class Server(uvicorn.Server):
    """Ends in two steps: first it refuses what is new, and ends when what it accepted is done.

    Args:
        app: what it serves.
        service: whose requests it waits for.
        host: where it listens.
        port: where it listens; 0: the system picks one.
    """

    def __init__(self, app: FastAPI, service: Service, host: str, port: int):
        """Configure it."""
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=5,
                server_header=False,
                lifespan="on",
            )
        )
        self._service = service
        self._ending: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals that end a server, in its own loop."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are another's
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse what is new, and end when nothing is left; told again, end now."""
        if self._ending is not None:
            self.force_exit = self.should_exit = True
            return
        self._service.draining = True
        self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered(), self._service.limits.grace_s)
        self.should_exit = True

    async def _answered(self) -> None:
        """Wait until all that was accepted is done, and its answers have left this process."""
        await self._service.idle()
        unsent = 1
        while unsent:
            await asyncio.sleep(LOOKS_EVERY_S)
            lines = [connection.transport for connection in self.server_state.connections]
            unsent = sum(line.get_write_buffer_size() for line in lines if line is not None)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens nowhere else; a port that is taken is known before work begins.

    Raises:
        OSError: if it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise OSError(f"{host}:{port} cannot be listened on ({error.strerror}): name another "
                      "--port.") from error  # fmt: skip
    return found
