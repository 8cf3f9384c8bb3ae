"""CLAIP-Emo: which emotion a person on a video shows, from face and voice together.

The method is that of Chen et al., arXiv 2509.14527: frozen CLIP and CLAP towers, adapted with LoRA.
Names are resolved on first use (PEP 562), so that ``import claip_emo`` costs nothing.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "ClaipEmoConfig": "claip_emo.model.configuration",
    "ClaipEmoModel": "claip_emo.model.modeling",
    "ClaipEmoProcessor": "claip_emo.model.processing",
    "Clip": "claip_emo.media.clip",
    "ClipSpec": "claip_emo.media.clip",
    "EmotionRecognizer": "claip_emo.inference.recognizer",
    "LabelSet": "claip_emo.labels",
    "MediaError": "claip_emo.media.decode",
    "load_clip": "claip_emo.media.clip",
}

__all__ = [
    "ClaipEmoConfig",
    "ClaipEmoModel",
    "ClaipEmoProcessor",
    "Clip",
    "ClipSpec",
    "EmotionRecognizer",
    "LabelSet",
    "MediaError",
    "__version__",
    "load_clip",
]

if TYPE_CHECKING:
    from claip_emo.inference.recognizer import EmotionRecognizer
    from claip_emo.labels import LabelSet
    from claip_emo.media.clip import Clip, ClipSpec, load_clip
    from claip_emo.media.decode import MediaError
    from claip_emo.model.configuration import ClaipEmoConfig
    from claip_emo.model.modeling import ClaipEmoModel
    from claip_emo.model.processing import ClaipEmoProcessor


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _EXPORTS:
        looks = gc.isenabled()
        gc.disable()  # what is imported is no garbage; to look through it takes a fifth of the time
        try:
            return getattr(import_module(_EXPORTS[name]), name)
        finally:
            if looks:
                gc.enable()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return list(__all__)
