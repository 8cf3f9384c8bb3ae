"""Recognise emotions in a program of your own, without torch.

claip-emo export --model DIR --format onnx --out OUT
python examples/torch_free.py OUT clip.mp4 ...

Needs numpy, av, opencv-python-headless and onnxruntime (docs/runtime.md).
"""

import sys
from pathlib import Path

from claip_emo import EmotionRecognizer
from claip_emo.inference.onnx_model import OnnxModel

model = OnnxModel.of_folder(Path(sys.argv[1]))
recognizer = EmotionRecognizer(model, face_detector="haar")
for result in recognizer.many(sys.argv[2:]):
    if result.error:
        print(result.error)
    else:
        print(result.path, result.label, f"{result.scores[result.label]:.2f}", *result.warnings)
