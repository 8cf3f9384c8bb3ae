"""Files of every kind."""

from pathlib import Path

import numpy as np

from .make_media import ramp, tone, write


def fill(folder: Path) -> Path:
    """Files of every kind; those named bad_* yield nothing."""
    quiet = np.zeros(48_000, np.float32)
    write(folder / "both.mp4", ramp(20), tone(0.8))
    write(folder / "no_sound.mp4", ramp(20))
    write(folder / "no_picture.mp4", None, tone(0.8))
    write(folder / "sound.wav", None, tone(0.8))
    write(folder / "one_frame.mp4", ramp(1))
    write(folder / "tenth_of_a_second.mp4", ramp(3), tone(0.1))
    write(folder / "one_pixel.mkv", ramp(4, 1, 1), codec="ffv1")
    write(folder / "odd.mkv", ramp(4, 33, 57), tone(0.2), codec="ffv1")
    write(folder / "uhd.mp4", ramp(3, 2160, 3840))
    write(folder / "turned.mp4", ramp(20, 64, 96), tone(0.8), rotation=90)
    write(folder / "slow.mp4", ramp(10), tone(2.0), fps=5)
    write(folder / "fast.mp4", ramp(60), tone(0.5), fps=120)
    write(folder / "six_channels.wav", None, tone(0.5), layout="5.1")
    write(folder / "telephone.wav", None, tone(0.5, 8000), rate=8000)
    write(folder / "silent.mp4", ramp(20), quiet[:38_400])
    write(folder / "black.mp4", np.zeros((20, 64, 64, 3), np.uint8), tone(0.8))
    write(folder / "名前 ñ.mp4", ramp(20), tone(0.8))
    (folder / "bad_empty.mp4").write_bytes(b"")
    (folder / "bad_text.mp4").write_text("not a video\n" * 30)
    half = write(folder / "bad_half.mp4", ramp(50), tone(2.0))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    write(folder / "bad_silence.wav", None, quiet)
    return folder
