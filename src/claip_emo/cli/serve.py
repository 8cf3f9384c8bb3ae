"""claip-emo serve."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from claip_emo.cli.options import (
    AbstainOption,
    DetectorOption,
    DeviceOption,
    FaceModelOption,
    Precision,
    PrecisionOption,
    PredictingModelOption,
    ThreadsOption,
    begin,
    console,
    importing,
    printable,
    use_threads,
)

SHORTEST_KEY = 16


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(serve)


def serve(
    model: PredictingModelOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; 0.0.0.0: everywhere.", metavar="H")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen.", metavar="P")
    ] = 8000,
    max_bytes: Annotated[
        int | None,
        typer.Option("--max-bytes", min=1, help="Of a file; default: 200 MiB.", metavar="N"),
    ] = None,
    max_duration_s: Annotated[
        float | None,
        typer.Option(
            "--max-duration-s", min=0.1, help="Of a recording; default: 600.", metavar="S"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes that decode; default: one per core.", metavar="N"
        ),
    ] = None,
    waiting: Annotated[
        int | None,
        typer.Option("--waiting", min=0, help="Requests that may wait; default: 32.", metavar="N"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=1, help="For decoding one file; default: 60.", metavar="S"),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            exists=True,
            dir_okay=False,
            help="File whose content requests of /v1 and the page must name as their key.",
            metavar="F",
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page at /.")] = True,
    abstain: AbstainOption = None,
    face_detector: DetectorOption = None,
    face_model: FaceModelOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.AUTO,
    threads: ThreadsOption = None,
) -> None:
    """Serve predictions and timelines over HTTP, and a page to look at; Ctrl-C or SIGTERM ends."""
    begin()
    use_threads(threads)
    with importing():
        from claip_emo.inference.abstention import asked_for
        from claip_emo.inference.recognizer import EmotionRecognizer
        from claip_emo.serving import extra
        from claip_emo.threads import in_use

        extra.check(page=page)
        from claip_emo.serving.api import make_app
        from claip_emo.serving.limits import Limits
        from claip_emo.serving.log import quiet
        from claip_emo.serving.server import Server, bound
        from claip_emo.serving.service import service
    key = _key(api_key_file)
    asked = {
        "max_bytes": max_bytes,
        "max_duration_s": max_duration_s,
        "workers": workers or in_use(),
        "waiting": waiting,
        "predict_s": timeout,
    }
    limits = Limits(**{name: value for name, value in asked.items() if value is not None})
    listening = bound(host, port)
    recognizer = EmotionRecognizer.from_pretrained(
        model,
        device=device,
        precision=precision.value,
        face_detector=face_detector.value if face_detector else None,
        face_model=face_model,
        abstain_below=asked_for(abstain),
    )
    quiet()
    logging.captureWarnings(True)
    with service(recognizer, limits) as made:
        app = make_app(made, key)
        if page:
            from claip_emo.serving.page import add_page

            app = add_page(app, made, key, _which(model))
        where = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        what = f"the page, and {where}/docs for programs" if page else f"{where}/docs for programs"
        console.print(printable(f"{where}: {what}. Ctrl-C ends."), highlight=False, soft_wrap=True)
        if key is None and host not in ("127.0.0.1", "::1", "localhost"):
            console.print(
                "Whoever reaches this port can use it: --api-key-file asks for a key.",
                style="yellow",
                soft_wrap=True,
            )
        Server(app, made, host, port).run([listening])


def _which(model: str | None) -> str:
    """Say which model answers."""
    if model is None:
        return "The small model that comes with claip-emo answers (licence: CC BY-NC-SA 4.0)."
    return f"The model {Path(model).name} answers."


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    key = file.read_text("utf-8").strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise typer.BadParameter(
            f"{file} holds no key: a line of at least {SHORTEST_KEY} letters, digits or signs, "
            "such as `openssl rand -hex 32` makes."
        )
    return key
