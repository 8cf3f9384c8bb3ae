"""The page: a clip is chosen, and what was found in it moves with the player.

Gradio shows it; files go to this server's own route, so that all of its limits hold and no path and
no address is ever taken from a request. Of Gradio only what draws the page can be reached.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from claip_emo.inference.abstention import UNCERTAIN
from claip_emo.inference.colours import colours_of
from claip_emo.inference.reader import ModalityChoice
from claip_emo.inference.result import EmotionResult
from claip_emo.inference.timeline_files import WriteCsv, WriteJson, WriteVtt
from claip_emo.inference.timeline_result import Timeline, TimelinePerson
from claip_emo.serving.api import USE, describe, upload_of, while_there
from claip_emo.serving.problems import ProblemError
from claip_emo.serving.service import Service

HOP_S = 0.25  # finer than by default: bars move with the player
RECORD_S = 20
TITLE = "CLAIP-Emo: emotions in face and voice"
EXAMPLES = (
    {"name": "happy.mp4", "title": "One person, happy", "type": "video/mp4"},
    {"name": "two-people.mp4", "title": "Two people side by side", "type": "video/mp4"},
    {"name": "voice.wav", "title": "A voice without a face", "type": "audio/wav"},
)
DOWNLOADS = (WriteCsv(), WriteJson(), WriteVtt())
OURS = ("/v1/", "/page/", "/healthz", "/readyz", "/metrics", "/docs", "/redoc", "/openapi.json")
DRAWS = ("/assets/", "/static/", "/svelte/", "/theme.css", "/config", "/favicon.ico",
         "/manifest.json", "/robots.txt", "/gradio_api/startup-events", "/gradio_api/heartbeat/",
         "/gradio_api/app_id")  # fmt: skip
Rows = Mapping[ModalityChoice, EmotionResult]
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")


def add_page(app: FastAPI, service: Service, api_key: str | None, model: str) -> FastAPI:
    """Add the page to the server's routes; whatever is no other route is its.

    Args:
        app: of the server.
        service: what looks at clips.
        api_key: that its users must know.
        model: which one answers, in a sentence.
    """
    _add_routes(app, service, api_key)
    app.user_middleware.append(Middleware(Guard))  # inside the log, which tells of what it refuses
    described = describe(service)
    labels = service.recognizer.labels.names
    settings = {
        "labels": list(labels),
        "colours": list(colours_of((*labels, UNCERTAIN))),
        "limits": described["limits"],
        "use": USE,
        "model": model,
        "key": api_key is not None,
        "record_s": RECORD_S,
        "examples": EXAMPLES,
    }
    parts = files("claip_emo.serving") / "page_files"
    body = (parts / "page.html").read_text("utf-8")
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            body.replace("SETTINGS", html.escape(json.dumps(settings), quote=True)),
            js_on_load=(parts / "page.js").read_text("utf-8"),
            apply_default_css=False,
        )
    return gr.mount_gradio_app(
        app,
        blocks,
        "/",
        footer_links=[],
        ssr_mode=False,
        css=(parts / "page.css").read_text("utf-8"),
        theme=gr.themes.Base(font=FONTS, font_mono=("ui-monospace", "monospace")),
        head='<meta name="robots" content="noindex">',
        show_error=False,
        mcp_server=False,
    )


def _add_routes(app: FastAPI, service: Service, api_key: str | None) -> None:
    examples = Path(str(files("claip_emo.serving") / "page_files" / "examples"))
    known = {each["name"]: each["type"] for each in EXAMPLES}

    async def look(request: Request) -> Response:
        """Say all that the page shows of a file."""
        async with upload_of(service, request, api_key, ()) as upload:
            rows, timeline = await while_there(request, _looked(service, upload.path))
        return JSONResponse(
            {
                "label": rows["av"].label,
                "scores": {of: row.scores for of, row in rows.items()},
                "picture": "video" in rows["av"].modalities,
                "timeline": shown(timeline),
                "files": {each.extension: each.text(timeline) for each in DOWNLOADS},
            }
        )

    async def example(name: str) -> Response:
        """Return a made clip."""
        if name not in known:
            raise ProblemError("not_found", "There is no such example.")
        return FileResponse(examples / name, media_type=known[name])

    app.add_api_route("/page/look", look, methods=["POST"], include_in_schema=False)
    app.add_api_route("/page/examples/{name}", example, include_in_schema=False)


async def _looked(service: Service, path: Path) -> tuple[Rows, Timeline]:
    rows = await service.apart(path)
    timeline = await service.timeline(path, "av", window_s=2.0, hop_s=HOP_S, faces="all")
    return rows, timeline


def shown(timeline: Timeline) -> dict[str, Any]:
    """Return a timeline as the page draws it: with boxes, and without the place of its file."""
    described = timeline.to_dict()
    del described["path"]
    for person, found in zip(described["people"], timeline.people, strict=True):
        person["boxes"] = _boxes(found)
    return described


def _boxes(person: TimelinePerson) -> list[list[list[float]]]:
    """Return the boxes of each stretch: time in s, x0 y0 x1 y1 in px."""
    return [
        [
            [round(float(time), 3), *(round(float(value), 1) for value in box)]
            for time, box in zip(stretch.times_s, stretch.boxes_px, strict=True)
        ]
        for stretch in person.stretches
        if stretch.boxes_px is not None
    ]


class Guard:
    """Lets nothing of Gradio be reached but what draws the page.

    Its own uploads, files, calls and addresses stay closed.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp):
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that there is nothing."""
        if scope["type"] == "websocket":
            return
        if scope["type"] == "http" and not _open(scope["method"], scope["path"]):
            response = ProblemError("not_found", "Not Found").response()
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _open(method: str, path: str) -> bool:
    if path.startswith(OURS):
        return True
    return method in ("GET", "HEAD") and (path == "/" or path.startswith(DRAWS))
