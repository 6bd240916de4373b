"""Losses of examples under a model: cross-entropy of their targets, one forward pass a batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodiag.errors import CheckpointError
from geodiag.models.batches import EncodedProbe

DEFAULT_BATCH_TOKENS = 2048
"""Most tokens of a batch, padding included."""
_ENTRIES_A_CHUNK = 2**25
"""Logits that are turned into probabilities at a time."""


@dataclass(frozen=True)
class ExampleScore:
    """How well a model predicts one example's target."""

    loss: float
    """Mean cross-entropy of the target's tokens, the turn's end included, in nats."""
    loss_end: float | None
    """That of the turn's end alone; None where none was added."""
    exact: bool
    """Whether every target token is the most probable one."""
    token_accuracy: float
    """Share of the target's tokens that are the most probable ones."""
    entropy: float
    """Mean entropy of the predictions of the target's tokens, in nats."""
    n_tokens: int
    """Tokens of the target."""

    @property
    def p_target(self) -> float:
        """exp(-loss): the geometric mean of the target tokens' probabilities, 0..1."""
        return math.exp(-self.loss)


@dataclass(frozen=True)
class Batch:
    """Some examples in one padded block, with what is to be predicted."""

    indices: tuple[int, ...]
    """Their places among all examples."""
    ids: Tensor
    """(b, n) tokens, padded on the right."""
    positions: Tensor
    """(k,) rising: where some example predicts a token of its target."""
    predicts: Tensor
    """(b, k) whether that example does there."""
    targets: Tensor
    """The predicted tokens, example by example, in order."""
    owners: Tensor
    """The row of the batch that each of `targets` belongs to."""


def batch_plan(probes: Sequence[EncodedProbe], *, batch_tokens: int) -> list[tuple[int, ...]]:
    """Which examples run together, by their token counts alone: the same on every machine.

    Args:
        probes: the examples.
        batch_tokens: most tokens of a batch, padding included; a longer example runs alone.
    """
    order = sorted(range(len(probes)), key=lambda n: (len(probes[n].ids), n))
    plan: list[tuple[int, ...]] = []
    first = 0
    while first < len(order):
        last = first + 1
        while last < len(order) and len(probes[order[last]].ids) * (last + 1 - first) <= batch_tokens:
            last += 1
        plan.append(tuple(order[first:last]))
        first = last
    return plan


def make_batch(probes: Sequence[EncodedProbe], indices: Sequence[int], *, device: torch.device) -> Batch:
    """The batch of the examples at `indices`."""
    rows = [probes[n] for n in indices]
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    predicts = torch.zeros(len(rows), width, dtype=torch.bool)
    for n, row in enumerate(rows):
        ids[n, : len(row.ids)] = torch.tensor(row.ids)
        predicts[n, len(row.ids) - row.n_target - 1 : len(row.ids) - 1] = True
    positions = predicts.any(0).nonzero()[:, 0]
    targets = ids.roll(-1, dims=1)[predicts]
    owners = predicts.nonzero()[:, 0]
    tensors = (part.to(device) for part in (ids, positions, predicts[:, positions], targets, owners))
    return Batch(tuple(indices), *tensors)


def target_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits at the predicting positions, and the normalised hidden states that the head makes them from.

    Args:
        model: a causal language model.
        batch: examples; no mask is given, since padding lies behind every token, where causal attention never looks.

    Returns:
        (p, vocabulary) in the model's dtype, and (p, width), in the order of `batch.targets`.
    """
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    kept = {"logits_to_keep": batch.positions} if keeps else {}
    states: list[Tensor] = []

    def keep_input(_module: nn.Module, args: tuple[Any, ...]) -> None:
        states.append(args[0])

    head = model.get_output_embeddings()  # type: ignore[operator]
    hook = head.register_forward_pre_hook(keep_input)
    try:
        logits = model(input_ids=batch.ids, use_cache=False, **kept).logits
    finally:
        hook.remove()
    if not keeps:
        logits = logits[:, batch.positions]
    hidden = states[-1] if states[-1].shape[1] == len(batch.positions) else states[-1][:, batch.positions]
    return logits[batch.predicts], hidden[batch.predicts]


Kept = Callable[[Batch, Tensor, Tensor], None]
"""Takes a batch, and the hidden states (p, width) and logits (p, vocabulary) at its predicting positions."""


@torch.no_grad()
def score_examples(
    model: nn.Module,
    probes: Sequence[EncodedProbe],
    *,
    batch_tokens: int = DEFAULT_BATCH_TOKENS,
    keep: Kept | None = None,
) -> list[ExampleScore]:
    """Scores of examples, in their order.

    Log-softmax is taken in float32 and summed in float64, so that the same batches give the same bits.

    Args:
        model: a causal language model in evaluation mode; run it within `exact_arithmetic`.
        probes: the examples.
        batch_tokens: most tokens of a batch.
        keep: is given the hidden states and logits of every batch.

    Raises:
        CheckpointError: a token has no embedding, or a loss is not finite.
    """
    device = next(model.parameters()).device
    check_vocabulary(model, probes)
    scores: dict[int, ExampleScore] = {}
    for indices in batch_plan(probes, batch_tokens=batch_tokens):
        batch = make_batch(probes, indices, device=device)
        logits, hidden = target_logits(model, batch)
        if keep is not None:
            keep(batch, hidden, logits)
        scores.update(zip(indices, _batch_scores(batch, logits, [probes[n] for n in indices]), strict=True))
    return [scores[n] for n in range(len(probes))]


def _batch_scores(batch: Batch, logits: Tensor, probes: Sequence[EncodedProbe]) -> Iterator[ExampleScore]:
    losses, entropies, hits = (part.cpu() for part in token_scores(logits, batch.targets))
    sizes = [probe.n_target for probe in probes]
    columns = (torch.split(column, sizes) for column in (losses, entropies, hits))
    for probe, loss, entropy, hit in zip(probes, *columns, strict=True):
        n, n_end = probe.n_target, getattr(probe, "n_end", 0)
        total = float(loss.sum())
        if not math.isfinite(total):
            raise CheckpointError("the model's loss on a probe is infinite or not a number", fix="see its weights")
        yield ExampleScore(
            total / n,
            float(loss[n - n_end :].sum()) / n_end if n_end else None,
            bool(hit.all()),
            float(hit.double().mean()),
            float(entropy.sum()) / n,
            n,
        )


def token_scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy and entropy of each row (nats, float64 of float32 log-softmax), and whether the target is on top.

    Args:
        logits: (p, vocabulary).
        targets: (p,) tokens.
    """
    rows = max(1, _ENTRIES_A_CHUNK // logits.shape[1])
    parts = [_chunk_scores(logits[n : n + rows], targets[n : n + rows]) for n in range(0, len(logits), rows)]
    losses, entropies, hits = (torch.cat(column) for column in zip(*parts, strict=True))
    return losses, entropies, hits


def _chunk_scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_p = torch.log_softmax(wide, dim=-1)
    losses = -log_p.gather(1, targets[:, None])[:, 0].double()
    # -sum p log p; where p is 0, log p is finite, so that no 0 * infinity arises.
    entropies = -(log_p.exp() * log_p).sum(-1).double()
    return losses, entropies, log_p.argmax(-1) == targets


def check_vocabulary(model: nn.Module, probes: Sequence[EncodedProbe]) -> None:
    """Refuses a token without an embedding, which would end a GPU's context and not only the run.

    Raises:
        CheckpointError: names the token.
    """
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    top = max(max(probe.ids) for probe in probes)
    if top >= rows:
        message = f"the tokenizer gives token {top}, and the model has {rows} embeddings"
        raise CheckpointError(message, fix="give the tokenizer that belongs to the base")
