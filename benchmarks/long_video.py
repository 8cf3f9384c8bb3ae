"""Time and memory of reading one file for prediction, against its length: 5 s to 2 h.

python benchmarks/long_video.py [--seconds 5 60 600 7200] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

FPS = 25


def make(path: Path, seconds: int) -> None:
    """Write a video of moving stripes with a tone, 320 x 180 at 25 fps."""
    import av
    import numpy as np

    stripes = np.tile(np.arange(640, dtype=np.uint8) // 2, (180, 1))
    tone = (0.3 * np.sin(np.arange(48_000) * 2 * np.pi * 220 / 48_000)).astype(np.float32)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = 320, 180, "yuv420p"
        voice = container.add_stream("aac", rate=48_000, layout="mono")
        blocks = 0
        for index in range(seconds * FPS):
            array = np.repeat(stripes[:, index % 320 : index % 320 + 320, None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(picture.encode(frame))
            while blocks * 1024 < (index + 1) * 48_000 // FPS:
                start = blocks * 1024 % 46_000
                piece = av.AudioFrame.from_ndarray(
                    tone[None, start : start + 1024], format="fltp", layout="mono"
                )
                piece.rate, piece.pts, piece.time_base = 48_000, blocks * 1024, Fraction(1, 48_000)
                container.mux(voice.encode(piece))
                blocks += 1
        container.mux(picture.encode())
        container.mux(voice.encode())


def read(path: str) -> dict:
    from claip_emo.media.clip import ClipSpec, load_clip
    from claip_emo.media.faces import make_detector

    spec = ClipSpec(views="by_duration", max_fps=35.0)
    detector = make_detector("haar")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    clip = load_clip(path, spec, detector=detector)
    return {
        "seconds": round(time.perf_counter() - begin, 2),
        "views": clip.num_views,
        "before_mib": round(before),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, nargs="+", default=[5, 60, 600, 7200])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--read")
    options = parser.parse_args()
    if options.read:  # a process of its own: the peak of memory is the process's
        print(json.dumps(read(options.read)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seconds in options.seconds:
            path = Path(folder) / f"{seconds}.mp4"
            make(path, seconds)
            done = subprocess.run(
                [sys.executable, __file__, "--read", str(path)],
                capture_output=True,
                text=True,
                check=True,
            )
            rows.append({"length_s": seconds, "megabytes": round(path.stat().st_size / 1e6, 1)})
            rows[-1] |= json.loads(done.stdout.splitlines()[-1])
            path.unlink()
            print(json.dumps(rows[-1]), flush=True)
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    options.out.mkdir(parents=True, exist_ok=True)
    content = {"commit": git.stdout.strip(), "rows": rows}
    (options.out / "long_video.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
