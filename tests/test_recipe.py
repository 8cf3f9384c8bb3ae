import pytest
import yaml

from claip_emo.pretrain_recipe import PretrainRecipe
from claip_emo.recipe_files import RecipeError, load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("name", ["csv", "csv-tiny", "demo"])
def test_recipes_come_by_name_and_by_path(name: str) -> None:
    assert name in recipe_names()
    assert load_recipe(name) == load_recipe(f"recipes/{name}.yaml")


def test_the_paper_s_settings_are_the_defaults() -> None:
    recipe = load_recipe("csv")
    assert (recipe.model.lora.rank, recipe.model.lora.alpha, recipe.model.lora.dropout) == (
        8,
        32,
        0.1,
    )
    assert recipe.train.learning_rate == pytest.approx(1e-5 * recipe.train.batch_size / 8)
    assert recipe.train.final_learning_rate == pytest.approx(1e-6 * recipe.train.batch_size / 256)
    assert (recipe.augment.mixup, recipe.augment.cutmix) == (0.8, 1.0)
    assert recipe.augment.modality_dropout == 0


def test_a_round_trip_changes_nothing() -> None:
    recipe = load_recipe("demo")
    assert parse_recipe(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("train.learning_rate=1e-4", lambda r: r.train.learning_rate, 1e-4),
        ("train.compile=true", lambda r: r.train.compile, True),
        ("data.labels=[a, b]", lambda r: r.data.labels, ["a", "b"]),
        (
            "data.split={test: {speaker: [actor17]}}",
            lambda r: r.data.split,
            {"test": {"speaker": ["actor17"]}},
        ),
        ("data.split.test={speaker: x}", lambda r: r.data.split, {"test": {"speaker": "x"}}),
    ],
)
def test_overrides(override: str, read, value) -> None:
    assert read(load_recipe("csv", [override])) == value


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.learnin_rate=1", r"train\.learnin_rate: unknown key; did you mean 'learning_rate'"),
        ("trian.epochs=1", r"trian: unknown key; did you mean 'train'"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("model.backbone=vit-b33", "vit-b32"),
        ("train.epochs=3", "warmup_epochs"),
        ("augment.frames=2", "temporal Transformer"),
        ("train.bf16=true", "train: bf16 is now called precision: write precision: bf16"),
        ("train.precision=int8", r"train\.precision.*'fp32' or 'bf16'"),
        ("augment.crop_scale=[1, 0.5]", "reversed"),
        ("train.epochs", "KEY=VALUE|section.key=value"),
        ("name.x=1", "is a value, not a section"),
        ("data.split={", "no YAML"),
    ],
)
def test_wrong_overrides_name_the_mend(override: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe("csv", [override])


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("csv", ["train.epoch=1", "model.backbon=x"])
    assert "epoch" in str(caught.value)
    assert "backbon" in str(caught.value)


def test_an_unknown_recipe_is_answered_with_the_known(tmp_path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'demo'"):
        load_recipe("dmeo")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        load_recipe(broken)


@pytest.mark.parametrize("name", ["2024", "prep #1", "my cache: v2", "1e3", "true", "[x]"])
def test_a_path_is_taken_as_it_stands(name: str) -> None:
    recipe = load_recipe("csv-tiny", [f"data.cache={name}", f"data.root={name}"])

    assert (recipe.data.cache, recipe.data.root) == (name, name)


def test_a_path_can_be_taken_away_and_quoted() -> None:
    assert load_recipe("csv-tiny", ["data.root=null"]).data.root is None
    assert load_recipe("csv-tiny", ["data.root='null'"]).data.root == "null"


def test_a_folder_in_the_home_of_the_user(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    recipe = load_recipe("csv-tiny", ["data.cache=~/prepared"])

    assert str(recipe.data.cache_folder) == "/home/someone/prepared"


def test_a_recipe_of_another_command_is_refused() -> None:
    with pytest.raises(RecipeError, match="is a recipe of claip-emo pretrain, not of train"):
        load_recipe("mini")
    assert load_recipe("mini", schema=PretrainRecipe).name == "mini-towers"
    assert "mini" not in recipe_names()
    assert recipe_names(PretrainRecipe) == ["mini", "mini-clear"]
