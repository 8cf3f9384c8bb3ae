"""A head that begins with words answers as the words do."""

import pytest
import torch

from claip_emo.evaluation.zero_shot import ZeroShotModel
from claip_emo.labels import SEVEN
from claip_emo.model.language import language_of
from claip_emo.recipe_files import RecipeError, load_recipe
from claip_emo.training.fit import train
from claip_emo.training.initial import initial_model

FACES = ["model.backbone=tiny-clip", "model.modality=v", "model.temporal=mean"]


def start(tmp_path, *changes):
    return initial_model(load_recipe("csv", [*FACES, *changes]), SEVEN, tmp_path)[0].eval()


def test_the_head_answers_as_the_words_do(tmp_path) -> None:
    model = start(tmp_path / "words", "model.head=language")
    language = {"vision": language_of(model.config, "vision")}
    words = ZeroShotModel(model, language)
    features = torch.randn(64, model.video_width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        said = model.fuse(features, features.new_zeros(64, 0))
        rows = (
            torch.nn.functional.normalize(language["vision"].network.project(features), dim=-1)
            @ words.vision_labels.t()
        )
    assert len(set(rows.argmax(dim=1).tolist())) > 1
    assert torch.equal(said.argmax(dim=1), rows.argmax(dim=1))
    plane, scale = language["vision"].network.visual_projection.weight, language["vision"].scale
    most = torch.linalg.matrix_norm(plane, 2) * model.video_width**0.5  # of a feature's length
    expected = scale * words.vision_labels @ plane / most
    torch.testing.assert_close(model.head.classifier.weight, expected - expected.mean(dim=0))
    random = start(tmp_path / "random").head.classifier.weight
    assert not torch.allclose(random, model.head.classifier.weight)


def test_a_run_that_goes_on_has_the_same_start(tmp_path) -> None:
    first, second = (start(tmp_path / "run", "model.head=language") for _ in range(2))
    assert torch.equal(first.head.classifier.weight, second.head.classifier.weight)


@pytest.mark.parametrize(
    "changes",
    [
        ["model.temporal=transformer"],
        ["model.modality=av", "model.fusion=gated"],
        ["train.init=runs/other"],
    ],
)
def test_what_no_linear_head_can_say_is_refused_before_anything_is_read(changes) -> None:
    with pytest.raises(RecipeError, match=r"model\.head=language"):
        load_recipe("csv", [*FACES, *changes, "model.head=language"])


def test_a_projection_of_two_layers_is_no_linear_head(tmp_path) -> None:
    with pytest.raises(RecipeError, match="more than a linear map"):  # CLAP's
        start(tmp_path, "model.modality=a", "model.head=language")
    assert not (tmp_path / "initial").exists()


def test_a_run_whose_head_cannot_begin_leaves_its_folder_free(clips, tmp_path) -> None:
    out = tmp_path / "run"
    changes = ["model.backbone=tiny-clip", "model.modality=a", "data.face_detector=none",
               f"data.root={clips}", "model.head=language"]  # fmt: skip
    with pytest.raises(RecipeError, match="more than a linear map"):
        train(load_recipe("csv", changes), out, device="cpu")
    assert not (out / "recipe.yaml").exists()
