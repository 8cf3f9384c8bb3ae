"""A head that begins with what the towers know of the labels' words, in place of random weights.

Towers that were taught with language know much of the classes before any clip is labelled
(``evaluation.zero_shot``). A linear head can say it at once: logit c = scale t_c . P x, where t_c
is the embedding of the label's words, P the projection of media, x the feature. Wortsman et al.
(arXiv 2109.01903) begin fine-tuning there, so that what was learned from many is not forgotten for
what few clips say.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from claip_emo.evaluation.zero_shot import embed_labels, roles_of
from claip_emo.model.heads import ConcatFusion
from claip_emo.model.language import LanguageTower, language_of
from claip_emo.model.modeling import ClaipEmoModel
from claip_emo.model.prompts import Role
from claip_emo.recipe_files import RecipeError


def begin_with_words(model: ClaipEmoModel) -> None:
    """Write what the labels' words mean into a model's head.

    Features are not normalised there, as cosines ask for: their projection is divided by the most
    it can be for features of deviation 1, so that the head is never surer than the words are.

    Args:
        model: of a recipe whose features reach a linear head as the towers give them.

    Raises:
        RecipeError: if a projection is not linear.
        LanguageError: if a tower has no text encoder.
    """
    head: ConcatFusion = model.head
    rows = {}
    for role in roles_of(model.config):
        rows[role] = _rows(language_of(model.config, role), model.config.labels, role)
    widths = {"audio": model.audio_width, "vision": model.video_width}
    parts = [rows[role] for role in ("audio", "vision") if widths[role]]  # as the head has them
    with torch.no_grad():
        head.classifier.weight.copy_(torch.cat(parts, dim=1))
        head.classifier.bias.zero_()


def _rows(tower: LanguageTower, labels: list[str], role: Role) -> torch.Tensor:
    projection = getattr(tower.network, "visual_projection", None)
    if not isinstance(projection, nn.Linear):
        raise RecipeError(
            f"model.head=language: {tower.name} projects its {role} features by more than a linear "
            "map; set model.head=random."
        )
    weight = projection.weight  # (P, D)
    most = torch.linalg.matrix_norm(weight, 2) * math.sqrt(weight.shape[1])
    rows = tower.scale * embed_labels(tower, labels, role) @ weight / most
    return rows - rows.mean(dim=0)  # what all classes have in common says nothing
