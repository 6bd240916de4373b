"""Every signal against every outcome, with the step index as baseline, as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import polars as pl

from geodiag.report.heatmap import Heatmap, heatmap_html
from geodiag.signals import SIGNALS, TARGETS, Signal
from geodiag.tables.confounds import WAYS, Way

BASELINE = "step"
"""The signal that every other is compared with."""
GAP = (
    "<p class='summary'><b>The global gap carries the step index.</b> By our reading of its definition it is the state "
    "gap times 2/(t + 1) at step t, up to the regulariser and where all t tasks are active. What is lost drifts with "
    "the step as well, so the two can go together for no better reason than the order of the steps. Hold every signal "
    "against the bare step index in the first row, and look at <i>At a fixed step</i>.</p>"
)
"""The caveat above all correlations."""
ABSENT = "not defined: held fixed here, or too few values"


def correlations_html(confounds: pl.DataFrame) -> str:
    """Five correlations of signals with forgetting; then with every outcome, with a choice of the correlation.

    Args:
        confounds: the table of that name.
    """
    choice = "".join(
        f"<label><input type='radio' name='way' value='{way.name}'{' checked' if way.name == 'step_partial' else ''}> "
        f"{way.label}</label>"
        for way in WAYS
    )
    maps = "".join(
        f"<div class='way' data-way='{way.name}'>{heatmap_html(_way_map(confounds, way))}</div>" for way in WAYS
    )
    ways = "".join(f"<li><b>{way.label}</b>: {escape(way.meaning)}</li>" for way in WAYS)
    return (
        f"{GAP}{heatmap_html(baseline_map(confounds))}<ul class='small'>{ways}</ul>{_glossary()}"
        f"<h3>Every outcome</h3><fieldset class='ways'><legend>Correlation</legend>{choice}</fieldset>{maps}"
    )


def baseline_map(confounds: pl.DataFrame) -> Heatmap:
    """Signals, the step index first, by ways of asking: correlations with forgetting."""
    return _heatmap(
        confounds.filter(pl.col("target") == "forgetting"),
        _measured(confounds),
        "correlation",
        {way.name: way.label for way in WAYS},
        title="Signals and forgetting, asked five ways.",
        note="Spearman's ρ; negative: more of the signal, more lost. A frame where its interval leaves out 0.",
    )


def _way_map(confounds: pl.DataFrame, way: Way) -> Heatmap:
    rows = confounds.filter(pl.col("correlation") == way.name)
    return _heatmap(
        rows,
        _measured(confounds),
        "target",
        {target.name: target.label for target in TARGETS if target.name in rows["target"]},
        title=f"{way.label}:",
        note=f"{way.meaning}. Spearman's ρ; a frame where its interval leaves out 0.",
    )


def _heatmap(
    rows: pl.DataFrame, signals: list[Signal], across: str, columns: Mapping[str, str], *, title: str, note: str
) -> Heatmap:
    """Correlations of signals, row by row, with the names of the column `across` as columns."""
    order = list(columns)
    down = {signal.name: at for at, signal in enumerate(signals)}
    measured = rows.filter(pl.col("signal").is_in(list(down))).select("signal", across, "rho", "low", "high").rows()
    estimates = {(down[signal], order.index(column)): rest for signal, column, *rest in measured}
    clear = (at for at, (_, low, high) in estimates.items() if low is not None and (low > 0 or high < 0))
    return Heatmap(
        title=title,
        note=note,
        rows=[_row_name(signal) for signal in signals],
        columns=list(columns.values()),
        values={at: rho for at, (rho, _, _) in estimates.items()},
        low=-1.0,
        high=1.0,
        corner="signal",
        marks=frozenset(clear),
        absent=ABSENT,
    )


def _measured(confounds: pl.DataFrame) -> list[Signal]:
    """The signals that were measured, the baseline first."""
    defined = confounds.drop_nulls("rho")["signal"].to_list()
    return sorted((signal for signal in SIGNALS if signal.name in defined), key=lambda signal: signal.name != BASELINE)


def _row_name(signal: Signal) -> str:
    return f"{signal.label} (baseline)" if signal.name == BASELINE else signal.label


def _glossary() -> str:
    """The meaning, direction and caveat of every signal."""
    entries = "".join(
        f"<dt>{escape(signal.label)}</dt><dd>{escape(f'{signal.meaning} {_sentence(signal.reading)} {signal.caveat}')}"
        "</dd>"
        for signal in SIGNALS
    )
    return f"<details class='glossary'><summary>What the signals mean</summary><dl>{entries}</dl></details>"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
