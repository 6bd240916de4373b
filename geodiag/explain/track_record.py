"""Correlation of each kind of evidence with the loss, over all steps of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.explain.results import Track
from geodiag.signals import PAIR_SIGNALS, SIGNALS
from geodiag.tables.inputs import Inputs, SignalRows
from geodiag.tables.labels import in_text
from geodiag.tables.options import Options

STEP_TARGET, PAIR_TARGET = "forgetting", "drop"
"""The outcomes that step evidence and pair evidence are held against."""
STEP_EVIDENCE = (*(signal.name for signal in SIGNALS if signal.kind != "baseline"), "current")
"""Columns of a step that are evidence."""
PAIR_EVIDENCE = tuple(signal.name for signal in PAIR_SIGNALS if signal.kind != "baseline")
"""Columns of a pair that are evidence."""

_NAMES = {**{name: in_text(name) for name in (*STEP_EVIDENCE, *PAIR_EVIDENCE)}, "current": "the own task's score"}


@dataclass(frozen=True)
class Tracks:
    """Records by name."""

    steps: Mapping[str, Track]
    """Of step signals, and of the score of the step's own task (`current`)."""
    families: Mapping[str, Track]
    """Of a family's share of the step's squared update."""
    pairs: Mapping[str, Track]
    """Of pair signals."""

    @classmethod
    def of(cls, inputs: Inputs, family_shares: pl.DataFrame) -> Tracks:
        """Compute them.

        Args:
            inputs: the store's frames.
            family_shares: (run, step, family, share).
        """
        return cls(
            _tracks(inputs.steps, STEP_EVIDENCE, STEP_TARGET, inputs.options),
            _families(inputs, family_shares),
            _tracks(inputs.pairs, PAIR_EVIDENCE, PAIR_TARGET, inputs.options),
        )


def _families(inputs: Inputs, shares: pl.DataFrame) -> dict[str, Track]:
    families = shares["family"].unique().sort().to_list()
    if not families:
        return {}
    wide = shares.pivot("family", index=["run", "step"], values="share")
    frame = inputs.steps.frame.drop([name for name in families if name in inputs.steps.frame.columns])
    joined = frame.join(wide, on=["run", "step"], how="left").sort("run", "step")
    return _tracks(SignalRows.of(joined, inputs.options, place=("step",)), families, STEP_TARGET, inputs.options)


def _tracks(rows: SignalRows, names: Sequence[str], target: str, options: Options) -> dict[str, Track]:
    """The record of each column; empty where there are no rows."""
    if not rows.frame.height:
        return {}
    settings = options.estimates
    fixed = rows.correlate(names, [target], settings=settings, statistic="step_partial")
    pooled = rows.correlate(names, [target], settings=settings)
    found = {}
    for cell in fixed.cells():
        found[cell.signal] = Track(
            signal=_NAMES.get(cell.signal, f"the share of {cell.signal}"),
            target=target,
            rho=cell.estimate,
            low=cell.jackknife.low,
            high=cell.jackknife.high,
            pooled=pooled.cell(cell.signal, target).estimate,
            n=cell.rows,
            runs=cell.runs,
            least=options.least_runs,
        )
    return found
