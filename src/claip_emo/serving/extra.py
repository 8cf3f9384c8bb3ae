"""Whether what a server needs is installed."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client",
          "python_multipart": "python-multipart"}  # fmt: skip
OF_THE_PAGE = {"gradio": "gradio"}


class MissingExtraError(RuntimeError):
    """A package that serving needs is not installed."""


def check(*, page: bool) -> None:
    """Refuse to begin without a package.

    Raises:
        MissingExtraError: naming what is missing, and how it is installed.
    """
    needed = NEEDED | (OF_THE_PAGE if page else {})
    missing = [package for name, package in needed.items() if find_spec(name) is None]
    if missing:
        instead = " --no-page does without it." if missing == ["gradio"] else ""
        raise MissingExtraError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'claip-emo[serve]'.{instead}"
        )
