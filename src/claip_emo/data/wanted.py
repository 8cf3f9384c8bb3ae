"""What a recipe takes from its clips."""

from __future__ import annotations

from pathlib import Path

from claip_emo.data.cache import ClipCache
from claip_emo.media.faces import FaceDetector, make_detector
from claip_emo.media.spec import ClipSpec
from claip_emo.model.backbones import resolve
from claip_emo.model.processing import ClaipEmoProcessor
from claip_emo.recipe import Recipe


def taken(recipe: Recipe, processor: ClaipEmoProcessor) -> tuple[ClipSpec, FaceDetector | None]:
    """Return what a recipe takes from its clips, and how it finds faces.

    Args:
        recipe: modality, and the way of finding faces.
        processor: of its model.
    """
    wanted, data = recipe.model.modality, recipe.data
    model_file = Path(data.face_model) if data.face_model else None
    detector = make_detector(data.face_detector if "v" in wanted else "none", model_file)
    return processor.clip_spec(video="v" in wanted, audio="a" in wanted), detector


def recipe_cache(recipe: Recipe, folder: Path) -> ClipCache:
    """Return the cache of what a recipe takes from its clips; no model is built for it."""
    wanted = recipe.model
    backbone = resolve(wanted.backbone, vision=wanted.vision, audio=wanted.audio)
    processor = ClaipEmoProcessor.for_backbone(backbone, **wanted.processor)
    return ClipCache(folder, *taken(recipe, processor))
