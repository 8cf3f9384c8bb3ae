"""Frames do not pile up: each is given back at once, not when garbage is looked for."""

import gc

import av
import pytest

from claip_emo.media.source import open_source

from .make_media import ramp, write


@pytest.mark.parametrize("rotation", [None, 90])
def test_no_frame_outlives_its_picture(tmp_path, rotation) -> None:
    path = write(tmp_path / "a.mp4", ramp(60, 64, 96), rotation=rotation)
    source = open_source(path)
    gc.collect()
    gc.disable()
    try:
        seen = sum(1 for _ in source.frames(range(60)))
        kept = [
            each for each in gc.get_objects() if isinstance(each, av.VideoFrame) and each.width > 16
        ]
    finally:
        gc.enable()
    assert seen == 60
    assert len(kept) < 3
