"""A multipart body becomes a file and a few fields while it arrives; nothing waits in memory."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from claip_emo.serving.kinds import HEAD_BYTES, is_media
from claip_emo.serving.limits import Limits
from claip_emo.serving.problems import ProblemError

logger = logging.getLogger(__name__)

FULL = (errno.ENOSPC, errno.EDQUOT)
FIELD_BYTES = 256
HEADER_BYTES = 4096
MOST_PARTS = 16
AROUND_BYTES = 64 * 1024  # of boundaries, headers and fields beside the file
FILE = "file"


@dataclass(slots=True)
class Upload:
    """What was uploaded.

    Attributes:
        path: where the file lies; its name is not the one that it came with.
        size: of it, in bytes.
        fields: the others, by name.
    """

    path: Path
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)


def refuse_early(request: Request, limits: Limits) -> bytes:
    """Refuse by the headers what would be refused later; return the boundary.

    Raises:
        ProblemError: if it is no upload, or too large by its own account.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 256:
        raise ProblemError(
            "not_media", "Send the file as multipart/form-data, in the field 'file'."
        )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limits.max_bytes + AROUND_BYTES:
        raise _too_large(limits)
    return boundary


async def receive(
    request: Request, boundary: bytes, path: Path, limits: Limits, known: Collection[str]
) -> Upload:
    """Write the file of a request while it arrives.

    Args:
        request: whose body is read.
        boundary: between its parts.
        path: where to; it is not there yet.
        limits: of size and time.
        known: names of fields that are taken beside the file.

    Raises:
        ProblemError: if it is too large, too slow, no media, or no such form, or the disk is full.
    """
    try:
        with path.open("xb") as stream:
            form = _Form(Upload(path), boundary, stream, limits, known)
            await _feed(form, request, limits)
            form.finish()
    except OSError as error:
        if error.errno not in FULL:
            raise
        logger.error("%s is full: an upload was refused.", path.parent)
        raise ProblemError(
            "no_room", "There is no room for the file at the moment; come again."
        ) from error
    return form.upload


async def _feed(form: _Form, request: Request, limits: Limits) -> None:
    """Hand a form all of the body, within the time that it has."""
    try:
        async with asyncio.timeout(limits.upload_s):
            async for part in _body(request):
                form.feed(part)
    except TimeoutError:
        raise ProblemError(
            "upload_timeout", f"The upload took longer than {limits.upload_s:g} s."
        ) from None
    except FormParserError as error:
        raise ProblemError("bad_upload", f"This is no such form ({error}).") from error


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for part in request.stream():
            yield part
    except ClientDisconnect:
        raise ProblemError("bad_upload", "The upload broke off.") from None


class _Form:
    """Takes a body apart as it comes."""

    def __init__(
        self,
        upload: Upload,
        boundary: bytes,
        stream: BinaryIO,
        limits: Limits,
        known: Collection[str],
    ):
        self.upload = upload
        self._stream, self._limits, self._known = stream, limits, known
        self._seen: set[str] = set()
        self._name, self._head = "", b""
        self._header, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._words = bytearray()
        self._parts = self._header_bytes = self._received = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._received += len(data)
        if self._received > self._limits.max_bytes + AROUND_BYTES:
            raise _too_large(self._limits)
        if data:
            self._parser.write(data)

    def finish(self) -> None:
        """Check that all of it came."""
        if not self._ended:
            raise ProblemError("bad_upload", "The form ends in the middle.")
        if FILE not in self._seen:
            raise ProblemError("wrong_parameters", "There is no file; send it in the field 'file'.")
        if self.upload.size < HEAD_BYTES:
            self._look_at_head()

    def _on_part_begin(self) -> None:
        self._parts += 1
        self._headers, self._header, self._value = {}, b"", b""
        self._name, self._words = "", bytearray()
        self._header_bytes = 0
        if self._parts > MOST_PARTS:
            raise ProblemError("wrong_parameters", f"The form has more than {MOST_PARTS} parts.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > HEADER_BYTES:
            raise ProblemError("bad_upload", "The headers of a part are too long.")

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != FILE and self._name not in self._known:
            known = ", ".join([FILE, *sorted(self._known)])
            raise ProblemError(
                "wrong_parameters", f"There is no field {self._name[:40]!r}; these are: {known}."
            )
        if self._name in self._seen:
            raise ProblemError("wrong_parameters", f"The field {self._name!r} is there twice.")
        self._seen.add(self._name)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name != FILE:
            self._words += data[start:end]
            if len(self._words) > FIELD_BYTES:
                raise ProblemError("wrong_parameters", f"The field {self._name!r} is too long.")
            return
        self.upload.size += end - start
        if self.upload.size > self._limits.max_bytes:
            raise _too_large(self._limits)
        if len(self._head) < HEAD_BYTES:
            self._head += data[start : start + HEAD_BYTES - len(self._head)][: end - start]
            if len(self._head) >= HEAD_BYTES:
                self._look_at_head()
        self._stream.write(memoryview(data)[start:end])

    def _on_part_end(self) -> None:
        if self._name != FILE:
            self.upload.fields[self._name] = self._words.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True

    def _look_at_head(self) -> None:
        if not is_media(self._head):
            raise ProblemError("not_media", "The file begins as no video, sound or picture does.")


def _too_large(limits: Limits) -> ProblemError:
    return ProblemError("too_large", f"At most {limits.max_bytes:,} bytes are taken.")
