"""The continual strategies by name. Adding one is one entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodiag.lab.config import LabConfig
from geodiag.lab.strategies.aimmerging import AimMerging
from geodiag.lab.strategies.ewc import Ewc
from geodiag.lab.strategies.forever import Forever
from geodiag.lab.strategies.strategy import Lesson, SeqSft, Strategy


@dataclass(frozen=True)
class StrategyEntry:
    """A strategy as runs name it."""

    label: str
    """The method's name in a `run.yaml`."""
    make: Callable[[LabConfig], Strategy]
    """Builds the strategy of a run."""


STRATEGIES: dict[str, StrategyEntry] = {
    "seq_sft": StrategyEntry("Seq. SFT", lambda _: SeqSft()),
    "ewc": StrategyEntry("EWC", lambda config: Ewc(config.ewc)),
    "forever": StrategyEntry("FOREVER", lambda config: Forever(config.forever)),
    "aimmerging": StrategyEntry("AIMMerging", lambda config: AimMerging(config.aimmerging)),
}

__all__ = ["STRATEGIES", "Lesson", "Strategy", "StrategyEntry"]
