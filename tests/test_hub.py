"""A machine without network must not wait, and nothing is fetched twice."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from claip_emo import hub
from claip_emo.model import backbones


@pytest.fixture(autouse=True)
def asked_anew():
    hub.reachable.cache_clear()
    yield
    hub.reachable.cache_clear()


def online(monkeypatch) -> None:
    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_offline_is_a_no_without_asking(monkeypatch) -> None:
    monkeypatch.setattr(socket, "create_connection", pytest.fail)
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    assert not hub.reachable()


def test_the_hub_is_asked_once(monkeypatch) -> None:
    online(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub.reachable()
    assert hub.reachable()  # the answer is kept


def test_a_closed_port_is_a_no(monkeypatch) -> None:
    online(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    assert not hub.reachable()


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], {"model.safetensors"}),
        (["config.json", "pytorch_model.bin"], {"pytorch_model.bin"}),
        (
            ["model.safetensors.index.json", "model-1.safetensors", "pytorch_model.bin"],
            {"model.safetensors.index.json", "model-1.safetensors"},
        ),
    ],
)
def test_only_one_kind_of_weights_is_fetched(monkeypatch, tmp_path, there, taken) -> None:
    import fnmatch

    got: list[str] = []

    def download(source: str, allow_patterns: list[str], local_dir: Path) -> str:
        got.extend(n for n in there if any(fnmatch.fnmatch(n, p) for p in allow_patterns))
        return str(local_dir)

    monkeypatch.setattr(backbones, "reachable", lambda: True)
    monkeypatch.setattr(
        backbones, "HfApi", lambda: SimpleNamespace(list_repo_files=lambda source: there)
    )
    monkeypatch.setattr(backbones, "snapshot_download", download)
    assert backbones.fetch("some/clip", tmp_path) == tmp_path
    assert set(got) - {"config.json"} == taken


def test_fetching_without_network_names_both_ways() -> None:
    with pytest.raises(backbones.BackboneError, match=r"hub cannot be reached[\s\S]*--to"):
        backbones.fetch("some/clip")
