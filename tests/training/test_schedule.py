"""The learning rate against the released code's values, and the groups that decay."""

import json

import pytest
import torch
from torch import nn

from claip_emo.training.schedule import learning_rates, parameter_groups

from ..conftest import SHARED

GOLDEN = SHARED / "goldens" / "protocol.json"
# The first, some middle and the last of the released code's rates: 10 epochs of 4 steps, 2 warm-up.
KNOWN = {
    0: 0.0,
    1: 5.7142857142857145e-06,
    7: 4e-05,
    8: 4e-05,
    9: 3.990399548802693e-05,
    24: 2.00625e-05,
    39: 2.2100451197307594e-07,
}
SETTINGS = {"peak": 4e-5, "final": 1.25e-7, "epochs": 10, "steps_per_epoch": 4, "warmup_epochs": 2}


def test_known_rates() -> None:
    rates = learning_rates(**SETTINGS)
    assert len(rates) == 40
    for step, rate in KNOWN.items():
        assert rates[step] == pytest.approx(rate, abs=1e-15)


@pytest.mark.parametrize("golden", [GOLDEN] if GOLDEN.is_file() else [])
def test_all_rates_of_the_released_code(golden) -> None:
    stored = json.loads(golden.read_text())["learning_rate"]
    rates = learning_rates(
        peak=stored["base"],
        final=stored["final"],
        epochs=stored["epochs"],
        steps_per_epoch=stored["steps_per_epoch"],
        warmup_epochs=stored["warmup_epochs"],
    )
    assert rates == pytest.approx(stored["values"], abs=1e-15)


def test_without_warmup_it_starts_at_the_peak() -> None:
    rates = learning_rates(**SETTINGS | {"warmup_epochs": 0})
    assert rates[0] == 4e-5
    assert rates == sorted(rates, reverse=True)


def test_only_matrices_decay() -> None:
    class Some(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(3, 3)
            self.attention_norm = nn.LayerNorm(3)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
            self.frozen = nn.Linear(3, 3).requires_grad_(False)

    module = Some()
    decayed, kept = parameter_groups(module.named_parameters(), 0.05)
    assert [p.shape for p in decayed["params"]] == [(3, 3)]
    assert decayed["weight_decay"] == 0.05
    assert len(kept["params"]) == 4
    assert kept["weight_decay"] == 0.0
