"""The language side of CLIP and CLAP against transformers' own whole models, at tiny size."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    ClapModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from claip_emo import ClaipEmoModel
from claip_emo.labels import SEVEN
from claip_emo.model.backbones import BackboneError, LanguageError, configure, resolve
from claip_emo.model.checkpoint_folder import CheckpointError
from claip_emo.model.configuration import ClaipEmoConfig
from claip_emo.model.language import LanguageTower, folder_name, language_of, store_language
from claip_emo.model.prompts import ROLES, WORDS, prompts
from claip_emo.model.tokenization import train_tokenizer

from .make_checkpoints import TEXT, make_clap, make_clip, media_fields

TEXTS = ["a photo of an angry face", "a happy voice", "speech with no emotion in the voice"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory) -> Path:
    return make_clap(tmp_path_factory.mktemp("clap"))


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


@torch.no_grad()
def test_clip_embeds_as_clipmodel_does(clip_folder) -> None:
    tower = LanguageTower.from_source(str(clip_folder), "vision")
    whole = CLIPModel.from_pretrained(clip_folder).eval()
    ids = AutoTokenizer.from_pretrained(clip_folder)(TEXTS, padding=True, return_tensors="pt")
    texts = whole.get_text_features(**ids).pooler_output
    assert torch.equal(tower.embed_texts(TEXTS), functional.normalize(texts, dim=-1))
    pixels = torch.randn(3, 3, 32, 32)
    images = whole.get_image_features(pixel_values=pixels).pooler_output
    pooled = whole.vision_model(pixel_values=pixels).pooler_output
    assert torch.equal(tower.embed_media(pooled), functional.normalize(images, dim=-1))
    logits = whole(**ids, pixel_values=pixels).logits_per_image
    own = tower.scale * tower.embed_media(pooled) @ tower.embed_texts(TEXTS).T
    torch.testing.assert_close(own, logits)


@torch.no_grad()
def test_clap_embeds_as_clapmodel_does(clap_folder) -> None:
    tower = LanguageTower.from_source(str(clap_folder), "audio")
    whole = ClapModel.from_pretrained(clap_folder).eval()
    ids = AutoTokenizer.from_pretrained(clap_folder)(TEXTS, padding=True, return_tensors="pt")
    texts = whole.get_text_features(**ids).pooler_output
    assert torch.equal(tower.embed_texts(TEXTS), texts)
    heard = {
        "input_features": torch.randn(2, 4, 256, 64),
        "is_longer": torch.zeros(2, 1, dtype=torch.bool),
    }
    pooled = whole.audio_model(**heard).pooler_output
    assert torch.equal(tower.embed_media(pooled), whole.get_audio_features(**heard).pooler_output)
    logits = whole(**ids, **heard).logits_per_audio
    own = tower.scale * tower.embed_media(pooled) @ tower.embed_texts(TEXTS).T
    torch.testing.assert_close(own, logits)


@torch.no_grad()
def test_openai_s_layout_the_last_id_ends_the_text(clip_folder, tmp_path) -> None:
    """Vocabulary and merges as two files, eos_token_id 2 in the configuration."""
    state = json.loads((clip_folder / "tokenizer.json").read_text())["model"]
    entries = [*list(state["vocab"])[2:], "<|startoftext|>", "<|endoftext|>"]
    merges = [" ".join(pair) for pair in state["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps({e: i for i, e in enumerate(entries)}))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    text = TEXT | {"vocab_size": len(entries), "eos_token_id": 2, "bos_token_id": 0}
    config = CLIPConfig(vision_config=media_fields("vision"), text_config=text, projection_dim=12)
    torch.manual_seed(3)
    whole = CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    tower = LanguageTower.from_source(str(tmp_path), "vision")
    ids = tower.token_ids(TEXTS)
    assert [row[0] for row in ids] == [len(entries) - 2] * 3
    assert [row[-1] for row in ids] == [len(entries) - 1] * 3
    for row, embedding in zip(ids, tower.embed_texts(TEXTS), strict=True):
        alone = whole.get_text_features(input_ids=torch.tensor([row])).pooler_output
        torch.testing.assert_close(embedding, functional.normalize(alone, dim=-1)[0])


def test_weights_are_the_checkpoint_s_and_frozen(clip_folder, clap_folder) -> None:
    for folder, role, whole in (
        (clip_folder, "vision", CLIPModel.from_pretrained(clip_folder)),
        (clap_folder, "audio", ClapModel.from_pretrained(clap_folder)),
    ):
        tower = LanguageTower.from_source(str(folder), role)
        theirs = whole.state_dict()
        for name, value in tower.network.state_dict().items():
            assert torch.equal(value, theirs[name]), name
        left = {name.partition(".")[0] for name in theirs.keys() - tower.network.state_dict()}
        assert left == ({"vision_model"} if role == "vision" else {"audio_model", "logit_scale_t"})
        assert not [n for n, p in tower.named_parameters() if p.requires_grad]
        assert not tower.network.training


@pytest.mark.parametrize("role", ROLES)
def test_padding_does_not_change_an_embedding(role) -> None:
    tower = random_tower(role)
    together = tower.embed_texts(TEXTS)
    for place, text in enumerate(TEXTS):
        torch.testing.assert_close(together[place], tower.embed_texts([text])[0])


@pytest.mark.parametrize("role", ROLES)
def test_too_long_a_text_is_cut(role) -> None:
    tower = random_tower(role)
    assert len(tower.token_ids(["日本語" * 200])[0]) == tower.network.max_tokens
    assert tower.embed_texts(["日本語" * 200]).isfinite().all()


def random_tower(role: str, labels=SEVEN) -> LanguageTower:
    config = configure(resolve("tiny-clip"), labels)
    return language_of(config, role)


@pytest.mark.parametrize("role", ROLES)
def test_the_trained_tokenizer_tells_labels_apart(role) -> None:
    tokenizer = train_tokenizer(role, ["pride"])
    said = [text for label in (*WORDS, "pride", "日本", "q#") for text in prompts(label, role)]
    ids = [tuple(row) for row in tokenizer(said)["input_ids"]]
    assert len(set(ids)) == len(set(said)) == len(said)
    for row in ids:
        assert (row[0], row[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert not set(row[1:-1]) & set(tokenizer.all_special_ids)  # nothing is unknown
    for word in ("angry", "contempt", "pride"):  # it was trained on the prompts
        assert len(tokenizer.tokenize(f" {word}")) == 1
    assert len(tokenizer.tokenize(" unheard")) > 1
    assert len(tokenizer) < 1000


@pytest.mark.parametrize("role", ROLES)
def test_random_ones_are_always_the_same(role) -> None:
    torch.manual_seed(5)
    one = random_tower(role)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))  # the global generator is left as it was
    other = random_tower(role)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name])


# What a checkpoint carries


def model_of(backbone, **settings) -> ClaipEmoModel:
    torch.manual_seed(0)
    return ClaipEmoModel.from_backbone(configure(backbone, SEVEN, num_frames=2, **settings)).eval()


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def test_random_towers_are_stored_with_their_tokenizers(tmp_path) -> None:
    model = model_of(resolve("tiny-clip"))
    for place in ("one", "two"):  # a run that goes on writes the same
        model.save_pretrained(tmp_path / place)
        store_language(tmp_path / place, model.config)
    one = files(tmp_path / "one")
    assert one == files(tmp_path / "two")
    for role in ROLES:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            assert f"{folder_name(role)}/{name}" in one
        stored = language_of(model.config, role, tmp_path / "one")
        fresh = random_tower(role)
        assert stored.token_ids(TEXTS) == fresh.token_ids(TEXTS)
        assert torch.equal(stored.embed_texts(TEXTS), fresh.embed_texts(TEXTS))
        assert stored.scale == fresh.scale
        pooled = torch.randn(2, 32 if role == "vision" else 64)
        assert torch.equal(stored.embed_media(pooled), fresh.embed_media(pooled))


def test_stored_towers_need_no_training_code_of_their_names(tmp_path) -> None:
    """What is stored is read by transformers too, once the tower is put beside it."""
    model = model_of(resolve("tiny-clip"))
    store_language(tmp_path, model.config)
    config = CLIPConfig.from_pretrained(tmp_path / "language-vision")
    assert config.vision_config.hidden_size == model.config.vision_config.hidden_size
    whole, info = CLIPModel.from_pretrained(tmp_path / "language-vision", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert all(name.startswith("vision_model.") for name in info["missing_keys"])
    assert whole.text_model.config.eos_token_id == 1


def test_a_local_folder_is_stored_and_then_not_needed(clip_folder, clap_folder, tmp_path) -> None:
    here = copied(clip_folder, tmp_path / "clip"), copied(clap_folder, tmp_path / "clap")
    model = model_of(resolve("vit-b32", vision=str(here[0]), audio=str(here[1])))
    assert (model.config.vision_text, model.config.audio_text) == tuple(map(str, here))
    model.save_pretrained(tmp_path / "model")
    store_language(tmp_path / "model", model.config)
    before = [LanguageTower.from_source(str(f), r) for f, r in zip(here, ROLES, strict=True)]
    for folder in here:
        shutil.rmtree(folder)
    config = ClaipEmoConfig.from_pretrained(tmp_path / "model")
    for role, tower in zip(ROLES, before, strict=True):
        stored = language_of(config, role, tmp_path / "model")
        assert torch.equal(stored.embed_texts(TEXTS), tower.embed_texts(TEXTS))


def test_towers_from_the_hub_are_only_named(tmp_path) -> None:
    config = configure(resolve("vit-b32"), SEVEN)
    store_language(tmp_path, config)
    assert not list(tmp_path.iterdir())
    whole = configure(resolve("vit-b32"), SEVEN, adaptation="full")  # its towers are stored
    store_language(tmp_path, whole)
    assert not list(tmp_path.iterdir())
    config.save_pretrained(tmp_path)
    named = json.loads((tmp_path / "config.json").read_text())
    assert named["vision_text"] == "openai/clip-vit-base-patch32"
    assert named["audio_text"] == "laion/clap-htsat-fused"
    with pytest.raises(BackboneError, match="backbones fetch openai/clip-vit-base-patch32"):
        language_of(ClaipEmoConfig.from_pretrained(tmp_path), "vision", tmp_path)


def test_another_text_side_can_be_named(clip_folder, tmp_path) -> None:
    config = configure(resolve("vit-b32"), SEVEN, vision_text=str(clip_folder))
    config.save_pretrained(tmp_path)
    again = ClaipEmoConfig.from_pretrained(tmp_path)
    assert again.vision_source == "openai/clip-vit-base-patch32"
    assert language_of(again, "vision", tmp_path).name == str(clip_folder)


def test_a_model_of_one_modality_names_and_stores_one(tmp_path) -> None:
    config = configure(resolve("tiny-clip"), SEVEN, modality="a")
    store_language(tmp_path, config)
    assert [path.name for path in tmp_path.iterdir()] == ["language-audio"]
    assert configure(resolve("vit-b32"), SEVEN, modality="a").vision_text is None


def test_what_has_no_language_side_ends_no_training(clip_folder, tmp_path) -> None:
    store_language(tmp_path, configure(resolve("tiny"), SEVEN))  # ResNets
    store_language(tmp_path, configure(resolve("tiny-clip"), SEVEN, adaptation="full"))
    alone = tmp_path / "alone"
    CLIPVisionModel(CLIPVisionConfig(**media_fields("vision"))).save_pretrained(alone)
    (alone / "preprocessor_config.json").write_text("{}")
    store_language(tmp_path, configure(resolve("tiny-clip", vision=str(alone)), SEVEN))
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "language-audio"}
    with pytest.raises(LanguageError, match="'tiny' has no text encoder"):
        language_of(configure(resolve("tiny"), SEVEN), "vision")
    with pytest.raises(LanguageError, match="clip_vision_model, not a whole clip"):
        LanguageTower.from_source(str(alone), "vision")


# What is missing or broken


def test_a_missing_tokenizer_is_an_error(clip_folder, tmp_path) -> None:
    folder = copied(clip_folder, tmp_path / "clip")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(LanguageError, match=r"no tokenizer .* tokenizer\.json.*merges\.txt"):
        LanguageTower.from_source(str(folder), "vision")
    (folder / "vocab.json").write_text("{}")  # merges.txt is still missing
    with pytest.raises(LanguageError, match="no tokenizer"):
        LanguageTower.from_source(str(folder), "vision")


def test_a_broken_tokenizer_is_an_error(clip_folder, tmp_path) -> None:
    folder = copied(clip_folder, tmp_path / "clip")
    (folder / "tokenizer.json").write_text('{"model":')
    with pytest.raises(LanguageError, match=r"tokenizer of .* cannot be read"):
        LanguageTower.from_source(str(folder), "vision")


def test_missing_weights_are_an_error(clip_folder, tmp_path) -> None:
    folder = copied(clip_folder, tmp_path / "clip")
    whole = CLIPModel.from_pretrained(folder)
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("text_model.enc")}
    whole.save_pretrained(folder, state_dict=state)
    with pytest.raises(LanguageError, match=r"lacks \d+ weights .* text_model\.encoder"):
        LanguageTower.from_source(str(folder), "vision")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        LanguageTower.from_source(str(folder), "vision")


def test_a_broken_checkpoint_says_which_folder(tmp_path) -> None:
    model = model_of(resolve("tiny-clip"))
    store_language(tmp_path, model.config)
    weights = tmp_path / "language-vision" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="language-vision cannot be read"):
        language_of(model.config, "vision", tmp_path)
    shutil.rmtree(tmp_path / "language-audio")
    with pytest.raises(LanguageError, match="has no text encoder for its audio tower"):
        language_of(model.config, "audio", tmp_path)


def test_an_empty_tokenizer_is_what_transformers_would_make() -> None:
    """The reason for the checks: no error, and every word is the same."""
    ids = CLIPTokenizer()(["angry", "happy"])["input_ids"]
    assert ids[0] == ids[1]
