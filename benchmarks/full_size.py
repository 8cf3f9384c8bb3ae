"""One training step and one prediction at full size, with random weights: time and peak memory.

python benchmarks/full_size.py [--backbone vit-b32] [--batch 2] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path


def peak_gib() -> float:
    """Peak resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(backbone_name: str, batch_size: int, task: str) -> dict:
    import numpy as np
    import torch

    from claip_emo import ClaipEmoModel, ClaipEmoProcessor, EmotionRecognizer
    from claip_emo.corpora.base import Corpus, Sample
    from claip_emo.corpora.synthetic import make_clip
    from claip_emo.data.augment import Augmentation
    from claip_emo.data.dataset import ClipDataset, Draw, collate
    from claip_emo.labels import SEVEN
    from claip_emo.model.backbones import configure, resolve
    from claip_emo.recipe import AugmentRecipe
    from claip_emo.training.schedule import parameter_groups

    torch.manual_seed(0)
    backbone = replace(resolve(backbone_name), vision_source=None, audio_source=None)
    processor = ClaipEmoProcessor.for_backbone(backbone)
    model = ClaipEmoModel(configure(backbone, SEVEN))
    found = {"parameters": model.count_parameters(), "built_gib": round(peak_gib(), 2)}
    with tempfile.TemporaryDirectory() as folder:
        samples = []
        for index in range(batch_size):
            path = make_clip(
                Path(folder) / f"{index}.mp4", person=index, emotion=SEVEN[index % 7],
                size_px=224, fps=25, duration_s=4.0,
            )  # fmt: skip
            samples.append(Sample(path.stem, path, SEVEN[index % 7]))
        if task == "predict":
            recognizer = EmotionRecognizer(model, processor, face_detector="none")
            begin = time.perf_counter()
            result = recognizer(samples[0].path)
            found |= {"seconds": round(time.perf_counter() - begin, 2), "label": result.label}
        else:
            dataset = ClipDataset(
                Corpus("made", SEVEN, tuple(samples)), processor.clip_spec(), None
            )
            batch = collate([dataset[Draw(0, index)] for index in range(batch_size)])
            augment = Augmentation(AugmentRecipe(), processor, 7, 0.1)
            groups = parameter_groups(model.named_parameters(), 0.05)
            optimiser = torch.optim.AdamW(groups, lr=4e-5)
            model.train()
            begin = time.perf_counter()
            inputs = augment(batch, np.random.default_rng(0))
            targets = inputs.pop("labels")
            loss = torch.nn.functional.cross_entropy(model(**inputs).logits, targets)
            loss.backward()
            optimiser.step()
            found |= {
                "seconds": round(time.perf_counter() - begin, 2),
                "loss": round(loss.item(), 4),
                "clips": batch_size,
            }
    return found | {"peak_gib": round(peak_gib(), 2), "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="vit-b32")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--task", choices=["train", "predict"])
    options = parser.parse_args()
    if options.task:  # one task a process: the peak of memory is the process's
        print(json.dumps(measure(options.backbone, options.batch, options.task)))
        return
    results = {"backbone": options.backbone, "machine": platform.processor() or platform.machine()}
    for task in ("train", "predict"):
        arguments = ["--backbone", options.backbone, "--batch", str(options.batch), "--task", task]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], capture_output=True, text=True, check=True
        )
        results[task] = json.loads(done.stdout.splitlines()[-1])
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    results["commit"] = git.stdout.strip()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"full_size_{options.backbone}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
