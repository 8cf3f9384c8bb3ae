"""The server's routes."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

import claip_emo
from claip_emo.inference.timeline import check_windows
from claip_emo.model.description import MASKS, ModalityError
from claip_emo.serving import descriptions as told
from claip_emo.serving.log import RequestLog
from claip_emo.serving.problems import ProblemError
from claip_emo.serving.service import Service
from claip_emo.serving.uploads import Upload, receive, refuse_early

REFUSED_EARLY = (401, 413, 415, 422, 429, 503)  # where a body may still be on its way
DRAIN_S, DRAIN_BYTES = 2.0, 2**28  # of a body that is refused, so that its sender hears why
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
USE = (
    "It tells which emotion is expressed, not what somebody feels, and it errs. It must not be "
    "used to judge people: not at work, in school, by police or at borders, nor to diagnose."
)

Found = TypeVar("Found")


def make_app(service: Service, api_key: str | None = None) -> FastAPI:
    """Return the application of a service.

    Args:
        service: what does the work.
        api_key: that ``/v1`` asks for, as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``;
            None: it asks for none.
    """
    app = FastAPI(
        title="CLAIP-Emo",
        version=claip_emo.__version__,
        description="Which emotion does the person on a video show? From face and voice together. "
        f"{USE}",
    )
    app.add_middleware(RequestLog, metrics=service.metrics)
    _add_problems(app)
    _add_files(app, service, api_key)
    _add_state(app, service, api_key)
    return app


def _add_files(app: FastAPI, service: Service, api_key: str | None) -> None:
    """Add the routes that take a file."""

    async def predict(request: Request) -> Response:
        """Say which emotion a file shows."""
        async with upload_of(service, request, api_key, ("modality",)) as upload:
            modality = _modality(upload)
            found = await while_there(request, service.predict(upload.path, modality))
            row = found.to_dict()
            del row["path"]
            return JSONResponse(row)

    async def timeline(request: Request) -> Response:
        """Say who shows which emotion when in a recording."""
        fields = ("modality", *told.TIMES)
        async with upload_of(service, request, api_key, fields) as upload:
            window_s, hop_s = _number(upload, "window", 2.0), _number(upload, "hop", 0.5)
            faces = upload.fields.get("faces", "main")
            try:
                check_windows(window_s, hop_s, faces)
            except ValueError as error:
                raise ProblemError("wrong_parameters", str(error)) from error
            found = await while_there(
                request,
                service.timeline(
                    upload.path, _modality(upload), window_s=window_s, hop_s=hop_s, faces=faces
                ),
            )
            row = found.to_dict()
            del row["path"]
            return JSONResponse(row)

    for path, function, model, fields in (
        ("/v1/predict", predict, told.Row, {"modality": told.MODALITY}),
        ("/v1/timeline", timeline, told.TimelineRow, {"modality": told.MODALITY, **told.TIMES}),
    ):
        app.add_api_route(
            path,
            function,
            methods=["POST"],
            response_model=model,
            openapi_extra=told.form(**fields),
            responses=told.UPLOAD_PROBLEMS,
        )


def _add_state(app: FastAPI, service: Service, api_key: str | None) -> None:
    """Add the routes that tell of the server."""

    async def models(request: Request) -> Response:
        """Say which model answers."""
        check_key(request, api_key)
        return JSONResponse({"models": [describe(service)]})

    async def health() -> Response:
        """Say that the server runs."""
        return JSONResponse({"status": "ok"})

    async def ready() -> Response:
        """Say whether requests are taken."""
        if service.ready():
            return JSONResponse({"status": "ready"})
        raise ProblemError("shutting_down", "It starts, or ends.")

    async def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(service.metrics.text(), media_type=PROMETHEUS)

    app.add_api_route(
        "/v1/models", models, response_model=told.Models, responses=told.problems("unauthorized")
    )
    app.add_api_route("/healthz", health, response_model=dict[str, str])
    app.add_api_route(
        "/readyz", ready, response_model=dict[str, str], responses=told.problems("shutting_down")
    )
    app.add_api_route(
        "/metrics", metrics, response_class=Response, responses={200: {"content": {PROMETHEUS: {}}}}
    )


def describe(service: Service) -> dict[str, Any]:
    """Return what a user should know of the model and of the limits."""
    predictor, limits = service.recognizer.predictor, service.limits
    return {
        "labels": list(service.recognizer.labels.names),
        "modality": predictor.config.modality,
        "precision": predictor.precision,
        "abstains": service.recognizer.abstention.limits is not None,
        "use": USE,
        "limits": {
            "max_bytes": limits.max_bytes,
            "max_duration_s": limits.max_duration_s,
            "max_pixels": limits.max_pixels,
        },
    }


@asynccontextmanager
async def upload_of(
    service: Service, request: Request, api_key: str | None, fields: Collection[str]
) -> AsyncIterator[Upload]:
    """Take the file of a request; it is gone afterwards."""
    check_key(request, api_key)
    boundary = refuse_early(request, service.limits)
    async with service.accepted() as path:
        upload = await receive(request, boundary, path, service.limits, fields)
        request.state.whole = True
        service.metrics.uploaded.inc(upload.size)
        yield upload


def check_key(request: Request, api_key: str | None) -> None:
    """Refuse a request that does not name the key, if there is one.

    Raises:
        ProblemError: if it does not.
    """
    if api_key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        given = request.headers.get("x-api-key", "")
    if not hmac.compare_digest(given.strip().encode(), api_key.encode()):
        raise ProblemError("unauthorized", "Send the API key as 'Authorization: Bearer KEY'.")


def _modality(upload: Upload) -> Any:
    modality = upload.fields.get("modality", "av")
    if modality not in MASKS:
        raise ProblemError("wrong_parameters", f"modality is one of {', '.join(MASKS)}.")
    return modality


def _number(upload: Upload, name: str, default: float) -> float:
    try:
        return float(upload.fields.get(name, default))
    except ValueError:
        raise ProblemError("wrong_parameters", f"{name} is a number of seconds.") from None


async def while_there(request: Request, work: Coroutine[Any, Any, Found]) -> Found:
    """Do something for as long as somebody waits for it.

    Raises:
        ProblemError: if nobody does any more.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ProblemError("bad_upload", "Nobody waits for the answer.")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))  # its file is let go of before it is removed


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_problems(app: FastAPI) -> None:
    """Let every error be a problem."""

    @app.exception_handler(ProblemError)
    async def told_problem(request: Request, problem: ProblemError) -> Response:
        whole = getattr(request.state, "whole", False)  # nothing of its body is still to come
        if request.method == "POST" and not whole and problem.status in REFUSED_EARLY:
            return _heard(request, problem)
        return problem.response()

    @app.exception_handler(ModalityError)
    async def unread(request: Request, error: ModalityError) -> Response:
        return ProblemError("wrong_parameters", str(error)).response()

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "internal")
        return ProblemError(code, str(error.detail), dict(error.headers or {})).response()

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return ProblemError("internal", "Something went wrong here; it is in the log.").response()


def _heard(request: Request, problem: ProblemError) -> Response:
    """Answer before the upload has come, and let it come for a moment.

    Who still sends when the connection ends gets no answer but an error.
    """
    plain = problem.response()
    asks = "expect" in request.headers  # before it sends anything

    async def body() -> AsyncIterator[bytes]:
        yield plain.body
        received = 0
        try:
            async with asyncio.timeout(DRAIN_S):
                while received < DRAIN_BYTES and not asks:
                    message = await request.receive()
                    received += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return
        except TimeoutError:
            return

    headers = {name: value for name, value in plain.headers.items() if name != "content-type"}
    return StreamingResponse(
        body(), plain.status_code, {**headers, "connection": "close"}, plain.media_type
    )
