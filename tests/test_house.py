"""Imports stay lazy, and the public surface is what the documentation names."""

import subprocess
import sys

import pytest

import claip_emo


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, claip_emo; print(sorted(m for m in sys.modules if m in ('torch', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [n for n in claip_emo.__all__ if n != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(claip_emo, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        claip_emo.nonsense  # noqa: B018
