"""Which number format is chosen."""

import pytest
import torch

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.devices import DeviceError
from claip_emo.model.precision import best_precision, resolve_precision


@pytest.mark.parametrize(
    ("avx512", "amx", "backbone", "expected"),
    [
        (True, False, "tiny-clip", "bf16"),
        (False, True, "tiny-clip", "bf16"),
        (False, False, "tiny-clip", "fp32"),
        (True, True, "tiny", "fp32"),  # convolutions of few channels
    ],
)
def test_bf16_where_the_processor_has_it_and_the_towers_gain(
    monkeypatch, avx512: bool, amx: bool, backbone: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    config = configure(resolve(backbone), SEVEN)
    assert best_precision("cpu", config) == expected
    assert resolve_precision("auto", "cpu", config) == expected
    assert resolve_precision("fp32", "cpu", config) == "fp32"


def test_only_the_towers_that_are_read_decide(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    config = configure(resolve("tiny-clip"), SEVEN)
    config.audio_config = resolve_config = configure(resolve("tiny"), SEVEN).audio_config
    assert resolve_config.model_type == "resnet"
    assert best_precision("cpu", config) == "fp32"
    config.modality = "v"
    assert best_precision("cpu", config) == "bf16"


def test_what_cannot_be_is_refused() -> None:
    config = configure(resolve("tiny-clip"), SEVEN)
    assert resolve_precision("int8", "cpu", config) == "int8"
    with pytest.raises(DeviceError, match="int8 is for the CPU only"):
        resolve_precision("int8", "cuda", config)
    with pytest.raises(ValueError, match="auto, fp32, bf16 or int8"):
        resolve_precision("fp64", "cpu", config)
