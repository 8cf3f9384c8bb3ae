"""Tokenizers of CLIP and CLAP: loaded where their files are, or trained on the prompts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerBase, RobertaTokenizer
from transformers.utils.hub import cached_file

from claip_emo.model.backbones import LanguageError
from claip_emo.model.prompts import WORDS, Role, prompts

TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Either set of files makes a tokenizer."""


def load_tokenizer(source: str, where: dict[str, Any]) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a hub id or folder.

    Args:
        source: hub id or folder.
        where: ``revision`` and ``local_files_only``.

    Raises:
        LanguageError: if its files are not there, or cannot be read. Without them transformers
            makes an empty tokenizer, to which all words are the same.
    """
    quiet = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    if not any(
        all(cached_file(source, name, **where, **quiet) for name in names)
        for names in TOKENIZER_FILES
    ):
        raise LanguageError(
            f"{source} has no tokenizer on this machine: it needs tokenizer.json, or vocab.json "
            f"and merges.txt. With a network: claip-emo backbones fetch {source}; in a local "
            "folder, copy the files from where the weights come from."
        )
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **where)
    except Exception as error:  # the tokenizers library raises no type of its own
        raise LanguageError(f"The tokenizer of {source} cannot be read: {error}") from error


def train_tokenizer(role: Role, labels: Iterable[str] = ()) -> PreTrainedTokenizerBase:
    """Train a byte-pair tokenizer of CLIP's or CLAP's (RoBERTa's) kind on the prompts of a role.

    Args:
        role: ``vision`` or ``audio``.
        labels: whose prompts it learns, besides those of all labels that have words.
    """
    texts = [text for label in dict.fromkeys((*WORDS, *labels)) for text in prompts(label, role)]
    return byte_pairs(CLIPTokenizer if role == "vision" else RobertaTokenizer, texts)


def byte_pairs(
    kind: type[CLIPTokenizer] | type[RobertaTokenizer], texts: Iterable[str]
) -> PreTrainedTokenizerBase:
    """Train a byte-pair tokenizer of a kind on texts.

    It knows every byte, so that no label, in whatever script, is unknown to it.
    """
    alphabet = sorted(ByteLevel.alphabet())
    if kind is CLIPTokenizer:
        # The end of text is not id 2: CLIPTextModel takes that for OpenAI's old configuration,
        # where the highest id ends the text.
        special, suffix = ["<|startoftext|>", "<|endoftext|>"], "</w>"
        alphabet += [f"{byte}{suffix}" for byte in alphabet]
    else:
        special, suffix = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ""
    core = Tokenizer.from_str(kind().backend_tokenizer.to_str())
    core.train_from_iterator(
        texts, BpeTrainer(vocab_size=2000, end_of_word_suffix=suffix, show_progress=False)
    )
    merges = [tuple(pair) for pair in json.loads(core.to_str())["model"]["merges"]]
    entries = dict.fromkeys([*special, *alphabet, *("".join(pair) for pair in merges)])
    return kind(vocab={entry: place for place, entry in enumerate(entries)}, merges=merges)
