"""A probe as token ids: where its target begins, and what had to be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geodiag.errors import ProbesError, SettingsError
from geodiag.runs import Probe


@dataclass(frozen=True)
class Encoded:
    """One probe as a model reads it."""

    ids: tuple[int, ...]
    """The tokens of prompt and target."""
    n_target: int
    """How many of them, at the end, are the target's."""
    cut: int
    """How many tokens of the prompt were dropped from its start."""


def encode_probe(probe: Probe, tokenizer: Any, *, max_length: int, chat_template: bool) -> Encoded:
    """The tokens of one probe.

    Prompt and target are tokenised as one text, as a model sees them. The target begins at the first token that
    the prompt alone does not have: a token that straddles the border, such as the blank of "Answer: " that
    joins the "B" after it, is the target's. Nothing is added behind the target.

    A text longer than `max_length` loses the start of its prompt, behind the token that begins a text.

    Args:
        probe: the example.
        tokenizer: a transformers tokenizer.
        max_length: the most tokens, counting the target.
        chat_template: whether the prompt is a user's message, answered by the target.

    Raises:
        ProbesError: the target alone, with one token before it, is longer than `max_length`, or there is no
            token before it to predict it from.
        SettingsError: the tokenizer has no chat template.
    """
    prompt = _chat_prompt(probe.prompt, tokenizer) if chat_template else probe.prompt
    ids = _ids(tokenizer, prompt + probe.target, special=not chat_template)
    before = _common_prefix(ids, _ids(tokenizer, prompt, special=not chat_template))
    n_target = len(ids) - before
    if before == 0 or n_target == 0:
        what = "no token of the prompt comes before the target" if n_target else "the target adds no token"
        raise ProbesError(what, where=probe.where, fix="give both a prompt and a target")
    begins = int(ids[0] == tokenizer.bos_token_id)
    if n_target + 1 > max_length:
        what = f"the target is {n_target} tokens long, and one token must come before it"
        raise ProbesError(what, where=probe.where, fix=f"shorten it, or raise max_length above {max_length}")
    cut = max(0, len(ids) - max_length)
    return Encoded((*ids[:begins], *ids[begins + cut :]), n_target, cut)


def cut_counts(encoded: Mapping[str, Sequence[Encoded]]) -> dict[str, str]:
    """How many probes were cut, such as "3 of 32", for each task that has any."""
    counts = {task: sum(example.cut > 0 for example in examples) for task, examples in encoded.items()}
    return {task: f"{n} of {len(encoded[task])}" for task, n in counts.items() if n}


def _ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    return ids


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _chat_prompt(prompt: str, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        fix = "leave the option out, or save the tokenizer with its template"
        raise SettingsError("the tokenizer has no chat template", where=tokenizer.name_or_path, fix=fix)
    message = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return text
