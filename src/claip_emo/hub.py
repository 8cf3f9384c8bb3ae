"""Whether the hub can be asked at all: a machine without network must not wait for retries."""

from __future__ import annotations

import functools
import os
import socket
from urllib.parse import urlsplit

PATIENCE_S = 3.0


@functools.cache
def reachable() -> bool:
    """Say whether the hub answers; asked once per process.

    ``HF_HUB_OFFLINE`` is a no, and a proxy is taken for a yes: only it knows what it reaches.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True
