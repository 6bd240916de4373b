"""What a table cannot be made without, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geodiag.tables.inputs import Inputs, NotInStore
from geodiag.tables.orders import BASELINE_METHOD


@dataclass(frozen=True)
class Need:
    """Something that a store may or may not hold."""

    met: Callable[[Inputs], bool]
    """Whether it is there."""
    missing: str
    """What to say where it is not."""
    fix: str
    """How to get it."""


def _has_step(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.steps.frame[column].count() > 0


def _has_pair(column: str) -> Callable[[Inputs], bool]:
    return lambda inputs: inputs.pairs.frame[column].count() > 0


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "forgetting": Need(
            _has_step("forgetting"),
            "no old task was scored at two steps",
            "name a scores file in run.yaml and extract again",
        ),
        "scores": Need(_has_step("overall"), "no run has scores", "name a scores file in run.yaml and extract again"),
        "conflict": Need(
            _has_step("active_conflict"),
            "no two updates were ever active together",
            "extract runs of two steps or more with another memory than 1",
        ),
        "correlations": Need(
            lambda inputs: _has_step("overall")(inputs) or _has_pair("mean_conflict")(inputs),
            "no run has scores, and no new task was compared with an old one",
            "name a scores file in run.yaml and extract again",
        ),
        "pairs": Need(
            _has_pair("mean_conflict"),
            "no new task was compared with an old one",
            "extract runs of two steps or more with memory: all, or 2 and more",
        ),
        "seq_sft": Need(
            lambda inputs: BASELINE_METHOD in inputs.steps.frame["method"],
            f"no run's method is {BASELINE_METHOD!r}",
            "name it so in run.yaml where a run was trained without protection",
        ),
        "gradients": Need(
            _has_step("mean_grad_cos"),
            "no run has probe gradients",
            "extract with --gradients and a probes file in run.yaml",
        ),
    }
)
"""What may be needed, by name."""


def check_needs(inputs: Inputs, needs: Iterable[str], *, table: str) -> None:
    """Raise for the first need that is not met.

    Raises:
        NotInStore: it says what is missing and how to get it.
    """
    for name in needs:
        need = NEEDS[name]
        if not need.met(inputs):
            raise NotInStore(need.missing, where=table, fix=need.fix)
