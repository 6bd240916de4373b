"""A tokenizer of single characters, saved with each checkpoint so that any reader can load it."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

PAD, UNKNOWN = "<pad>", "<unk>"
ALPHABET = " " + string.ascii_lowercase + string.digits + "=.,:;+-*/<>()[]?!_'\"#&%\n"
"""The characters that every lab tokenizer knows; a suite's own characters come on top."""


def build_tokenizer(characters: Iterable[str] = ()) -> Any:
    """A `PreTrainedTokenizerFast` with one token a character and nothing added at either end.

    Decoding the ids of a text gives the text back, and the ids of two texts joined are the joined ids.

    Args:
        characters: characters to know beside `ALPHABET`.

    Returns:
        The tokenizer; its vocabulary is `<pad>`, `<unk>` and the sorted characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = [PAD, UNKNOWN, *sorted(set(ALPHABET) | set(characters))]
    inner = Tokenizer(models.WordLevel({symbol: k for k, symbol in enumerate(symbols)}, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
