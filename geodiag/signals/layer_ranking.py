"""Layers of a step ranked by geometry conflict or by gradient cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from geodiag.errors import SettingsError
from geodiag.signals.levels import layer_signals
from geodiag.store import StoreReader


@dataclass(frozen=True)
class Ranking:
    """An order of a step's layers."""

    name: str
    """Its name in the paper's tables."""
    signal: str
    """The column of `layer_signals` that orders the layers."""
    highest: bool
    """Whether the largest values come first."""


LAYER_RANKINGS: tuple[Ranking, ...] = (
    Ranking("top_geometry_conflict", "active_conflict", highest=True),
    Ranking("top_negative_gradient", "mean_grad_cos", highest=False),
)
"""The rankings of the family share tables."""


def top_layers(store: StoreReader, *, count: int = 10, rankings: Sequence[Ranking] = LAYER_RANKINGS) -> pl.DataFrame:
    """The first `count` layers of every step in each ranking; see `rank_layers`.

    Args:
        store: the store, or a view of some of its runs.
        count: how many places there are, at least 1.
        rankings: the orders to give.

    Raises:
        SettingsError: count is less than 1.
        StoreError: the store holds no run, or a run's settings name no lambda.
    """
    return rank_layers(layer_signals(store), count=count, rankings=rankings)


def rank_layers(layers: pl.DataFrame, *, count: int, rankings: Sequence[Ranking] = LAYER_RANKINGS) -> pl.DataFrame:
    """The first `count` layers of every step in each ranking.

    Layers without a value are not ranked. Layers that tie share their places: where a tie straddles the last
    place, all of its layers are given and share the remaining places, so that the weights of a step and ranking sum
    to `count`, or to the number of ranked layers where that is smaller. A family's share is a sum of weights.

    Args:
        layers: the rows of `layer_signals`.
        count: how many places there are, at least 1.
        rankings: the orders to give.

    Returns:
        One row a (run, step, ranking, layer): run, size, method, seed, step, task, ranking, place (from 1,
        the same for ties), weight (0..1), layer, block, family, value. A step without values has no row.

    Raises:
        SettingsError: count is less than 1.
    """
    if count < 1:
        raise SettingsError(f"count is {count}", fix="give at least 1")
    ranked = pl.concat([_ranked(layers.lazy(), ranking, count) for ranking in rankings])
    return ranked.sort("run", "step", "ranking", "place", "block", "layer").collect()


def _ranked(layers: pl.LazyFrame, ranking: Ranking, count: int) -> pl.LazyFrame:
    step = ("run", "step")
    rows = layers.with_columns(ranking=pl.lit(ranking.name), value=pl.col(ranking.signal))
    rows = rows.filter(pl.col("value").is_not_null())
    place = pl.col("value").rank("min", descending=ranking.highest).over(step)
    rows = rows.with_columns(place=place.cast(pl.Int32), tied=pl.len().over(*step, "value"))
    # A tie of n layers from place p holds the places p .. p + n - 1, of which those up to `count` are given.
    given = (count - pl.col("place") + 1).clip(0, pl.col("tied"))
    rows = rows.with_columns(weight=given / pl.col("tied")).filter(pl.col("weight") > 0)
    labels = ("run", "size", "method", "seed", "step", "task")
    return rows.select(*labels, "ranking", "place", "weight", "layer", "block", "family", "value")
