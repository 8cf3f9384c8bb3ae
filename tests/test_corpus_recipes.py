"""The recipes of published corpora: the paper's settings, and rates that follow from the batch."""

import pytest

from claip_emo.corpora.published import NAMES, published
from claip_emo.recipe_files import load_recipe, recipe_names

BATCH = {"dfew": 32, "mafw": 16, "mafw_compound": 16, "crema_d": 32, "ravdess": 32, "meld": 32}


@pytest.mark.parametrize("name", BATCH)
def test_settings(name: str) -> None:
    assert name in recipe_names()
    recipe = load_recipe(name)
    batch = BATCH[name]
    train = recipe.train
    assert train.batch_size == batch
    assert train.learning_rate == pytest.approx(1e-5 * batch / 8)
    assert train.final_learning_rate == pytest.approx(1e-6 * batch / 256)
    settings = (train.epochs, train.warmup_epochs, train.early_stopping, train.label_smoothing)
    assert settings == (100, 5, 20, 0.1)
    assert recipe.protocol.selection == "validation"
    assert recipe.model.backbone == "vit-b32"
    assert load_recipe(name, ["model.backbone=vit-l14"]).model.backbone == "vit-l14"


@pytest.mark.parametrize("name", BATCH)
def test_data(name: str) -> None:
    data = load_recipe(name).data
    corpus = published(data.corpus)
    assert data.corpus == name.removesuffix("_compound")
    assert data.variant in (None, *corpus.variants)
    assert (data.variant == "compound") == (name == "mafw_compound")


def test_every_corpus_but_the_lists_has_a_recipe() -> None:
    assert {load_recipe(name).data.corpus for name in BATCH} == set(NAMES) - {"lists"}


def test_recipes_state_their_resolved_rates() -> None:
    from claip_emo.recipe_files import _recipe_folder

    for name, batch in BATCH.items():
        text = (_recipe_folder() / f"{name}.yaml").read_text("utf-8")
        head = "".join(line for line in text.splitlines() if line.startswith("#"))
        assert {32: "4e-5", 16: "2e-5"}[batch] in head
        assert {32: "1.25e-7", 16: "6.25e-8"}[batch] in head
