"""Models none of whose numbers is what it was initialised with, and graphs of their parts."""

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto

from claip_emo.labels import SEVEN
from claip_emo.model.backbones import configure, resolve
from claip_emo.model.modeling import ClaipEmoModel


def made(backbone: str = "tiny-clip", seed: int = 0, **choices) -> ClaipEmoModel:
    """A model whose adapters, statistics and biases do something."""
    torch.manual_seed(seed)
    model = ClaipEmoModel(configure(resolve(backbone), SEVEN, **choices)).eval()
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if "running_var" in name:
                value.uniform_(0.5, 2)
            elif value.is_floating_point() and ("lora_B" in name or value.ndim == 1):
                value.add_(torch.randn_like(value), alpha=0.2)
    return model


def computed(graph: ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime makes of inputs."""
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return session.run(None, inputs)
