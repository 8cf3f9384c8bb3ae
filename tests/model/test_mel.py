"""The banks of mel filters are transformers' own."""

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank

from claip_emo.model.mel import mel_filters
from claip_emo.model.processor_settings import ProcessorSettings


@pytest.mark.parametrize("changes", [
    {}, {"mel_min_hz": 0.0, "mel_max_hz": 8000.0, "sampling_rate_hz": 16_000, "fft_size": 400},
])  # fmt: skip
@pytest.mark.parametrize(
    ("mode", "norm", "scale"), [("fusion", None, "htk"), ("rand_trunc", "slaney", "slaney")]
)
def test_they_are_those_of_transformers(mode, norm, scale, changes) -> None:
    settings = ProcessorSettings(mel_mode=mode, **changes)
    expected = mel_filter_bank(
        num_frequency_bins=settings.fft_size // 2 + 1,
        num_mel_filters=settings.mel_bins,
        min_frequency=settings.mel_min_hz,
        max_frequency=settings.mel_max_hz,
        sampling_rate=settings.sampling_rate_hz,
        norm=norm,
        mel_scale=scale,
    )
    np.testing.assert_allclose(mel_filters(settings), expected, rtol=1e-9, atol=1e-15)
    assert expected.max() > 0
