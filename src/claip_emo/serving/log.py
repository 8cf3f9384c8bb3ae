"""One line of JSON for each request, without anything of what it held."""

from __future__ import annotations

import json
import logging
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claip_emo.serving.metrics import Metrics

OTHER = "other"  # paths that are no routes: whatever somebody tries is not kept


class RequestLog:
    """Counts, times and logs requests.

    Args:
        app: what answers them.
        metrics: where they are counted.
        stream: where lines go; None: stdout.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, stream: TextIO | None = None):
        """Wrap an application."""
        self._app, self._metrics, self._stream = app, metrics, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, received, sent = time.perf_counter(), 0, 0, 0
        name = uuid.uuid4().hex[:16]

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except Exception:
            status = status or 500  # which is sent when it has left this place
            raise
        finally:
            seconds = time.perf_counter() - begun
            route = scope.get("route")
            path = getattr(route, "path", OTHER) or OTHER
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(seconds)
            self._write(
                {
                    "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                    "request": name,
                    "method": scope["method"],
                    "route": path,
                    "status": status,
                    "ms": round(1000 * seconds, 1),
                    "bytes_in": received,
                    "bytes_out": sent,
                }
            )

    def _write(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._stream or sys.stdout, flush=True)


def quiet() -> None:
    """Let libraries say only what is wrong, on stderr."""
    for name in ("uvicorn.access", "uvicorn.error", "httpx", "gradio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of senders' mistakes
