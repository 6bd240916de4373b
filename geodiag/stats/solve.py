"""Every number of a grid for one block: signals and targets that are complete on the same rows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from geodiag.stats.arrays import Texts, first_reason, unexplained
from geodiag.stats.block import Block, examine, interval_pair, resample
from geodiag.stats.draws import Draws
from geodiag.stats.permutation import (
    Permuted,
    common_places,
    free_permutation,
    undefined,
    whole_run_permutation,
)
from geodiag.stats.residuals import residual_scores
from geodiag.stats.settings import Settings
from geodiag.stats.statistics import Prepared, Statistic

# What a field of the grid holds where nothing was found, by the type its declaration names.
_EMPTY: dict[str, tuple[Any, Any]] = {
    "Floats": (np.float64, np.nan),
    "Ints": (np.intp, 0),
    "Bools": (np.bool_, False),
    "Texts": (np.object_, None),
}


def empty_fields(result: type[Any], shape: tuple[int, int, int]) -> dict[str, Any]:
    """Arrays for every field of a result that has one number a pair."""
    declared = {field.name: str(field.type) for field in fields(result)}
    return {
        name: np.full(shape, _EMPTY[kind][1], dtype=_EMPTY[kind][0])
        for name, kind in declared.items()
        if kind in _EMPTY
    }


def solve(block: Block, statistic: Statistic, *, settings: Settings, draws: Draws) -> dict[str, Any]:
    """The fields of a grid for one block; whatever is missing stays undefined."""
    known = examine(block, statistic)
    found = {"rows": known.rows, "runs": known.runs, "reason": known.reason}
    if known.prepared is None:
        kinds = ("interval_reason", "percentile_reason", "p_reason", "free_reason")
        return found | dict.fromkeys(kinds, known.reason)
    defined = unexplained(known.reason)
    sample = resample(known.prepared, block.shape, settings=settings, draws=draws)
    jackknife, percentile = interval_pair(sample, known.runs, settings=settings, fisher=True)
    found |= {
        "estimate": np.where(defined, sample.estimate, np.nan),
        "low": jackknife.low,
        "high": jackknife.high,
        "interval_reason": first_reason(known.reason, jackknife.reason),
        "percentile_low": percentile.low,
        "percentile_high": percentile.high,
        "percentile_reason": first_reason(known.reason, percentile.reason),
        "dropped": np.where(defined, percentile.dropped, 0),
    }
    return found | _p_values(block, known.prepared, statistic, known.reason, settings=settings, draws=draws)


def _p_values(
    block: Block, prepared: Prepared, statistic: Statistic, reason: Texts, *, settings: Settings, draws: Draws
) -> dict[str, Any]:
    free = _free(block, prepared, statistic, settings=settings, draws=draws)
    tested, rows, why = _whole_run(block, prepared, statistic, reason, settings=settings, draws=draws)
    return {
        "p_whole_run": tested.p,
        "arrangements": tested.arrangements,
        "exact": tested.exact,
        "p_rows": rows,
        "p_reason": first_reason(why, tested.reason),
        "p_free": free.p,
        "free_arrangements": free.arrangements,
        "free_reason": first_reason(reason, free.reason),
    }


def _free(block: Block, prepared: Prepared, statistic: Statistic, *, settings: Settings, draws: Draws) -> Permuted:
    if not statistic.moves_rows:
        return undefined(block.shape, "this correlation is one of whole runs, not of single rows")
    if not (settings.free and settings.permutations):
        return undefined(block.shape, "not asked for")
    residuals = residual_scores(prepared, block.shape)
    return free_permutation(residuals, size=settings.permutations, draws=draws)


def _whole_run(
    block: Block,
    prepared: Prepared,
    statistic: Statistic,
    reason: Texts,
    *,
    settings: Settings,
    draws: Draws,
) -> tuple[Permuted, int, Texts]:
    """The p-value, how many rows it used, and for each pair why it has none."""
    if not settings.permutations:
        return undefined(block.shape, "not asked for"), 0, reason
    match = block.design.match
    if settings.unequal == "common" and match is not None:
        shared = common_places(block.design.clusters.codes, match)
        if not shared.any():
            return undefined(block.shape, "no step is common to all runs"), 0, reason
        trimmed = examine(block.take(shared), statistic)
        if trimmed.prepared is None:
            return undefined(block.shape, ""), 0, first_reason(reason, trimmed.reason)
        prepared, reason = trimmed.prepared, first_reason(reason, trimmed.reason)
    residuals = residual_scores(prepared, block.shape)
    tested = whole_run_permutation(residuals, prepared.design, size=settings.permutations, draws=draws)
    return tested, len(prepared.values) if tested.reason is None else 0, reason
