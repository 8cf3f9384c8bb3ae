"""What tests ask a server with: the standard library's client, and bare connections."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

BOUNDARY = "boundaryOfTests"


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem, whose form is checked."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json
        assert set(problem) == {"type", "title", "status", "code", "detail"}
        assert problem["status"] == self.status
        assert "/tmp" not in problem["detail"]
        return problem["code"]


def form(content: bytes, fields: dict[str, str] | None = None, name: str = "a.mp4") -> bytes:
    """The body of an upload."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in (fields or {}).items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return b"".join([*parts, head.encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()])


class Client:
    """Asks a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def wait(self, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if self.get("/readyz").status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise TimeoutError("the server is not ready")

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(
                answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def post(
        self,
        file: Path | bytes,
        route: str = "predict",
        *,
        name: str = "a.mp4",
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        content = file if isinstance(file, bytes) else file.read_bytes()
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", f"/v1/{route}", form(content, fields, name), kind | (headers or {}))

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


def head(length: int | None, route: str = "predict") -> bytes:
    """The head of an upload that follows; None: it comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /v1/{route} HTTP/1.1\r\nHost: x\r\n{size}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()


def heard(connection: socket.socket) -> Answer:
    """What comes back on a bare connection."""
    answer = http.client.HTTPResponse(connection, method="POST")
    answer.begin()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Answer(answer.status, found, answer.read())
