"""The command ``claip-emo``: its commands, the options they share, errors and exit codes.

Nothing heavy is imported here: ``--help`` answers before torch could be loaded.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

import claip_emo

EXIT_SOME_FAILED = 1
EXIT_WRONG_USAGE = 2
EXIT_INTERRUPTED = 130

UsageMistake = typer.BadParameter.__mro__[2]  # ClickException: typer carries click inside itself

app = typer.Typer(
    name="claip-emo",
    help="Which emotion the person on a video shows, from face and voice together.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"claip-emo {claip_emo.__version__}")
        raise typer.Exit


@app.callback()
def _shared(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Which emotion the person on a video shows, from face and voice together."""


for _group in (
    "demo",
    "prepare",
    "pretrain",
    "train",
    "ablate",
    "evaluate",
    "predict",
    "batch",
    "serve",
    "report",
    "prior",
    "calibrate",
    "export",
    "corpus",
    "info",
    "backbones",
):
    importlib.import_module(f"claip_emo.cli.{_group}").register(app)


class _StoppedError(Exception):
    """An interrupt, which typer would turn into an exit without a word."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Let an interrupt of a command keep its message: it says how to go on."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            raise _StoppedError(str(stop) or "Interrupted.") from stop

    return run


for _command in app.registered_commands:
    _command.callback = _interruptible(_command.callback)


def main() -> None:
    """Run the command; every expected error ends in a message and an exit code, not a traceback.

    With ``CLAIP_EMO_DEBUG=1`` the traceback is shown as well.
    """
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except UsageMistake as error:
        error.show()
        sys.exit(EXIT_WRONG_USAGE)
    except (_StoppedError, KeyboardInterrupt, typer.Abort) as stop:
        _say(str(stop) or "Interrupted.", "yellow")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_SOME_FAILED)
    except (ValueError, RuntimeError, OSError) as error:
        if os.environ.get("CLAIP_EMO_DEBUG"):
            raise
        if type(error).__name__ != "FirstProcessFailedError":  # it has said why
            _say(_readable(error), "red")
        sys.exit(EXIT_WRONG_USAGE if isinstance(error, ValueError) else EXIT_SOME_FAILED)


def run() -> None:
    """Be the process of a command: ``main``, and out at once when all is done.

    Threads are waited for, exit functions run and streams are flushed, as the interpreter does it
    at its end; but torch is not taken apart object by object, which takes a third of a second.
    """
    code: Any = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # pools end their threads here
        atexit._run_exitfuncs()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_SOME_FAILED
    except OSError as error:
        _say(_readable(error), "red")
        code = EXIT_SOME_FAILED
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    os._exit(code)


def _readable(error: Exception) -> str:
    text = str(error) or type(error).__name__
    no_space = isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EFBIG,
        errno.EDQUOT,
    )
    if no_space or "No space left" in text or "File too large" in text:
        return (
            f"The disk is full: {text}. What was complete before is still there; make room and run "
            "the same command again."
        )
    if not type(error).__module__.startswith("claip_emo") and not isinstance(error, OSError):
        return f"{type(error).__name__}: {text}\nSet CLAIP_EMO_DEBUG=1 to see where it happened."
    return text


def _say(text: str, style: str) -> None:
    Console(stderr=True).print(f"[bold {style}]claip-emo:[/] ", end="")
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run()
