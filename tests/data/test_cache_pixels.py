"""What pictures of a cache look like is pinned beside ``WAY``: another look is another cache."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from claip_emo.data.cache import WAY

from .detectors import Corner
from .prepared import made, sample

EVERY = 4  # th row and column is kept here
OFF_BY = 2.0  # levels of 255 on average: machines round in their own ways; bicubic is off by 10
CASES = {"at its own size": (32, 32), "made smaller": (96, 128), "over the border": (48, 64)}
PIXELS = {
    3: {
        "at its own size": (
            "e25a5a9165ee9678804694c540b33a2ba0d5bb52ea22c0499e76775c9195709842c4627b4b8ed472"
            "8b87a668b3cb6364d26836579f608b8178ac765c6797679f833a978539618caf45ab586085c9449a"
            "b3b075577f877cad821282866da6707e6e926459929ba3718aba60a630aa91ad63b88c7d84987f56"
            "6aa0248379b5818380a565c569965d9e7875787acd917a80a06ab6449ab3579f56838f3d4b9aa17c"
            "7fa0a56f8682886e657deb6f9943976eb27f80929e8727ca589e868d477c9345"
        ),
        "made smaller": (
            "827ab3a565c37785904794c89172b67b7fa47b838ea071959b68c5549c77d16642758b749779777e"
            "867b77868b7f8488c85c8d8a8e2d578eb7b26987ba58cf7780a96a985ac75a9b90825d747fb55993"
            "9733a5a54e98977a877d638f8e947c70ad689e86817d558fb433b44d7b8f50b371618e7c8aa57f36"
            "82923a5e8ea2719064bb6777ba6d659f85264a9d8b9a79706c84b09e75857c8290897c909a78796d"
            "994c788c67a4756f588ac57d8b6a7c77d1639b529077974fa751778a775089e2"
        ),
        "over the border": (
            "17c15e17c15e16c25e1abe657476ef8c8750b9704f4daf2417c15e17c15e16c25e1abe657476ef8c"
            "8750b9704f4daf242fb2642fb2642cb46232af757378e0808c5ea77c49689a5173a00f73a00f6ea2"
            "0f739e1b6a955d529792b3725e3bb443609b59609b59669859609b5b8b72c597797b7e86777b9242"
            "c25f8bc25f8bc26385c45f8b8c73b7738f69907b84749939c848f3c848f3c749f5c54bebcd69453a"
            "a490996fb132ad76b35cc7b35cc7b958c9a862c55fa0427781a55986db779734"
        ),
    }
}


def coloured(path: Path, height: int, width: int) -> Path:
    """One even grey frame with noise in its colours, without loss, so that no encoder matters."""
    grey = np.full(height * width, 128, np.uint8)
    colours = np.random.default_rng(0).integers(60, 196, height * width // 2, np.uint8)
    planes = np.concatenate([grey, colours]).reshape(-1, width)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_their_way(case: str, tmp_path) -> None:
    clip = sample(coloured(tmp_path / "a.mkv", *CASES[case]))
    detector = Corner() if case == "over the border" else None
    cache, _ = made(tmp_path / "cache", [clip], detector=detector)
    seen = cache.recording(clip).frames[np.array([0])][0, ::EVERY, ::EVERY]
    mend = (
        f"Prepared pictures ({case}) no longer look as they did when WAY became {WAY}. If that is "
        "meant, raise WAY in data/cache.py, so that nobody trains on a mixture of both, and put "
        f"these pixels here under the new number: {seen.tobytes().hex()}"
    )
    assert WAY in PIXELS, mend
    known = np.frombuffer(bytes.fromhex(PIXELS[WAY][case]), np.uint8).reshape(seen.shape)
    assert np.abs(seen.astype(int) - known).mean() < OFF_BY, mend
