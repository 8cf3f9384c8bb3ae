"""What commands print on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any


def printable(text: str) -> str:
    """Return a text that stdout can take: names of files may hold what is no character."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def print_json(content: Any) -> None:
    """Print one line of JSON on stdout, with escapes where its encoding lacks a character."""
    text = json.dumps(content, ensure_ascii=False)
    print(text if printable(text) == text else json.dumps(content), flush=True)
