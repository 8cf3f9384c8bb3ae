"""Errors as problem JSON (RFC 9457) with a code that does not change."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

TYPE = "application/problem+json"
COME_AGAIN_S = 1

STATUS = {
    "unreadable": 400,
    "bad_upload": 400,
    "unauthorized": 401,
    "not_found": 404,
    "method_not_allowed": 405,
    "upload_timeout": 408,
    "too_large": 413,
    "not_media": 415,
    "wrong_parameters": 422,
    "busy": 429,
    "internal": 500,
    "shutting_down": 503,
    "worker_lost": 503,
    "no_room": 503,
    "over_time": 504,
}
"""Code -> status."""


@dataclass(eq=False)
class ProblemError(Exception):
    """Why a request is not answered as it wishes.

    Attributes:
        code: one of ``STATUS``.
        detail: what was wrong, and the mend.
        headers: further ones of the response.
    """

    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """HTTP status."""
        return STATUS[self.code]

    def body(self) -> dict[str, Any]:
        """Return the JSON."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }

    def response(self) -> JSONResponse:
        """Return the response."""
        later = {"Retry-After": str(COME_AGAIN_S)} if self.status in (429, 503) else {}
        challenge = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(
            self.body(), self.status, {**later, **challenge, **self.headers}, media_type=TYPE
        )
