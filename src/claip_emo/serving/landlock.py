"""Landlock: from now on this process reads only what it names, and writes nothing.

Since Linux 6.7 it opens no TCP connection either, and since 6.12 it signals no other process.
Source: https://docs.kernel.org/userspace-api/landlock.html (Linux 5.13).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, on every architecture
VERSION, PATH_BENEATH, NO_NEW_PRIVS = 1, 1, 38
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
# Of the files, the rights that each version of the interface knows.
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
NETWORK_SINCE, BIND_AND_CONNECT = 4, 0b11  # of TCP
SCOPED_SINCE, SOCKETS_AND_SIGNALS = 6, 0b11  # to processes that are not confined alike


def version() -> int:
    """Return which version of the interface the kernel has; 0 or less where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, VERSION))


def confine(readable: Iterable[str]) -> bool:
    """Let this process, from now on, only read, and only below some folders.

    Args:
        readable: folders and files; those that are not there are left out.

    Returns:
        Whether the kernel does that.
    """
    offered = version()
    if offered < 1:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    files = FILE_RIGHTS[max(known for known in FILE_RIGHTS if known <= offered)]
    network = BIND_AND_CONNECT if offered >= NETWORK_SINCE else 0
    scoped = SOCKETS_AND_SIGNALS if offered >= SCOPED_SINCE else 0
    size = 24 if scoped else 16 if network else 8  # older kernels know less of it
    about = struct.pack("=QQQ", files, network, scoped)[:size]
    rules = libc.syscall(CREATE_RULESET, about, len(about), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(libc, rules, path)
        done = libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        return done and libc.syscall(RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = EXECUTE | READ_FILE | (READ_DIR if os.path.isdir(path) else 0)
        rule = struct.pack("=Qi", rights, there)
        libc.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0)
    finally:
        os.close(there)
