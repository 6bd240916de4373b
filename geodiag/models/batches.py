"""Probes as token ids, in micro-batches, and their target loss."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.errors import ProbesError, SettingsError
from geodiag.runs import Probe


@dataclass(frozen=True)
class EncodedProbe:
    """One probe as token ids."""

    ids: tuple[int, ...]
    """The tokens of prompt and target."""
    n_target: int
    """Number of tokens of the target, at the end."""
    cut: int
    """Number of tokens dropped from the start of the prompt."""


def encode_probe(probe: Probe, tokenizer: Any, *, max_length: int, chat_template: bool) -> EncodedProbe:
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
    ids = encode_ids(tokenizer, prompt + probe.target, special=not chat_template)
    before = common_prefix(ids, encode_ids(tokenizer, prompt, special=not chat_template))
    n_target = len(ids) - before
    if before == 0 or n_target == 0:
        message = "no token of the prompt comes before the target" if n_target else "the target adds no token"
        raise ProbesError(message, where=probe.where, fix="give both a prompt and a target")
    begins = int(ids[0] == tokenizer.bos_token_id)
    if n_target + 1 > max_length:
        message = f"the target is {n_target} tokens long, and one token must come before it"
        raise ProbesError(message, where=probe.where, fix=f"shorten it, or raise max_length above {max_length}")
    cut = max(0, len(ids) - max_length)
    return EncodedProbe((*ids[:begins], *ids[begins + cut :]), n_target, cut)


def cut_counts(encoded: Mapping[str, Sequence[EncodedProbe]]) -> dict[str, str]:
    """How many probes were cut, such as "3 of 32", for each task that has any."""
    counts = {task: sum(example.cut > 0 for example in examples) for task, examples in encoded.items()}
    return {task: f"{n} of {len(encoded[task])}" for task, n in counts.items() if n}


def encode_ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """The tokens of a text; `special` adds what the tokenizer puts around a text of its own."""
    ids: list[int] = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    return ids


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many elements two sequences begin with in common."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _chat_prompt(prompt: str, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        fix = "leave the option out, or save the tokenizer with its template"
        raise SettingsError("the tokenizer has no chat template", where=tokenizer.name_or_path, fix=fix)
    message = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return text


@dataclass(frozen=True)
class MicroBatch:
    """Probes in one padded block, each weighted by its share of the mean loss."""

    ids: Tensor
    """(b, n) tokens, padded on the right."""
    positions: Tensor
    """(p,), rising: where some probe of the batch predicts a token of its target."""
    predicts: Tensor
    """(b, p), whether a probe predicts a token of its target at a position."""
    targets: Tensor
    """The tokens predicted, in the order of `predicts`."""
    weights: Tensor
    """Weight of each target token in the loss."""


def micro_batches(probes: Sequence[EncodedProbe], *, batch_tokens: int, device: torch.device) -> Iterator[MicroBatch]:
    """Pack probes of similar length into blocks whose losses add up to the mean over the probes.

    Args:
        probes: the examples of one mean.
        batch_tokens: the most tokens in a block, padding included; a longer probe is a block of its own.
        device: where the tensors go.
    """
    ordered = sorted(probes, key=lambda probe: len(probe.ids))
    first = 0
    while first < len(ordered):
        last = first + 1
        while last < len(ordered) and len(ordered[last].ids) * (last + 1 - first) <= batch_tokens:
            last += 1
        yield _micro_batch(ordered[first:last], 1 / len(probes), device)
        first = last


def target_loss(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Sum over the batch's probes of weight times the mean cross-entropy of the probe's target tokens.

    Logits are made in the model's precision, where the model can for the predicting positions only; the
    cross-entropy is taken in float32, or in float64 where the model computes in it.
    """
    keep = "logits_to_keep" in inspect.signature(model.forward).parameters
    # Without a mask: the padding lies behind every token, where causal attention never looks, and a mask would
    # cost the fast kernels and leave padding beyond a sliding window with nothing to attend to.
    kept = {"logits_to_keep": batch.positions} if keep else {}
    logits = model(input_ids=batch.ids, use_cache=False, **kept).logits
    logits = (logits if keep else logits[:, batch.positions])[batch.predicts]
    wide = logits if logits.dtype == torch.float64 else logits.float()
    losses = nn.functional.cross_entropy(wide, batch.targets, reduction="none")
    return losses @ batch.weights.to(losses.dtype)


def _micro_batch(probes: Sequence[EncodedProbe], weight: float, device: torch.device) -> MicroBatch:
    n = max(len(probe.ids) for probe in probes)
    ids = torch.zeros(len(probes), n, dtype=torch.long)
    predicts = torch.zeros(len(probes), n, dtype=torch.bool)
    for row, probe in enumerate(probes):
        length = len(probe.ids)
        ids[row, :length] = torch.tensor(probe.ids)
        predicts[row, length - probe.n_target - 1 : length - 1] = True
    positions = predicts.any(0).nonzero()[:, 0]
    parts = {
        "ids": ids,
        "positions": positions,
        "predicts": predicts[:, positions],
        "targets": ids.roll(-1, dims=1)[predicts],
        "weights": torch.cat([torch.full((p.n_target,), weight / p.n_target) for p in probes]),
    }
    return MicroBatch(**{name: part.to(device) for name, part in parts.items()})
