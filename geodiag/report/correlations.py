"""Every signal against every outcome, asked five ways, as heatmaps."""

from __future__ import annotations

from html import escape

import polars as pl

from geodiag.report.heat import Heatmap, as_html
from geodiag.signals import SIGNALS, TARGETS
from geodiag.tables.confounds import WAYS


def correlations_html(confounds: pl.DataFrame) -> str:
    """A heatmap for each way of asking, and a choice of which to show.

    Args:
        confounds: the table of that name.
    """
    choice = "".join(
        f"<label><input type='radio' name='way' value='{way.name}'{' checked' if way.name == 'step_partial' else ''}> "
        f"{escape(way.name.replace('_', '-'))}</label>"
        for way in WAYS
    )
    maps = "".join(f"<div class='way' data-way='{way.name}'>{as_html(_map(confounds, way.name))}</div>" for way in WAYS)
    return f"<fieldset class='ways'><legend>Correlation</legend>{choice}</fieldset>{maps}"


def _map(confounds: pl.DataFrame, way: str) -> Heatmap:
    rows = confounds.filter(pl.col("correlation") == way)
    signals = [signal for signal in SIGNALS if signal.name in rows["signal"]]
    targets = [target for target in TARGETS if target.name in rows["target"]]
    places = {s.name: k for k, s in enumerate(signals)}, {t.name: k for k, t in enumerate(targets)}
    values = {(places[0][s], places[1][t]): rho for s, t, rho in rows.select("signal", "target", "rho").iter_rows()}
    clear = rows.filter((pl.col("low") > 0) | (pl.col("high") < 0)).select("signal", "target").iter_rows()
    meaning = next(known.meaning for known in WAYS if known.name == way)
    return Heatmap(
        title=f"{way.replace('_', '-').capitalize()}:",
        note=f"{meaning}. Spearman's ρ; a frame where its interval leaves out 0. The global gap is the state gap times "
        "2/(t + 1) where all t tasks are active, so it carries the step index.",
        rows=[signal.label for signal in signals],
        columns=[target.label for target in targets],
        values=values,
        low=-1.0,
        high=1.0,
        corner="signal, outcome",
        marks=frozenset((places[0][s], places[1][t]) for s, t in clear),
    )
