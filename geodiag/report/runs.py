"""The runs: a table of what they ended with, and a map of what every step cost."""

from __future__ import annotations

from html import escape

from geodiag.explain import Evidence
from geodiag.report.grids import table_html
from geodiag.report.heat import Heatmap
from geodiag.signals import RUN_TARGETS, run_outcomes
from geodiag.tables.format import DASH, number
from geodiag.tables.names import label

OUTCOMES = ("OP", "BWT", "FWT", "forgetting", "retention_loss")
"""Outcomes of a run in its table, at the last step."""
HEADINGS = ("run", "size", "method", "seed", "steps", *(label(name) for name in OUTCOMES), "costliest step")
"""What the columns are called."""

Step = tuple[str, int]
"""A run and a step of it."""
Costly = tuple[float | None, int]
"""What a step changed on average in old tasks' scores, and the step."""


def runs_table(evidence: Evidence) -> str:
    """One row a run, each leading to its costliest step; what the columns mean below."""
    worst = costliest(evidence)
    rows = [_row(row, worst[row["run"]]) for row in run_outcomes(evidence.store).iter_rows(named=True)]
    right = [name not in ("run", "size", "method") for name in HEADINGS]
    table = table_html(HEADINGS, rows, right, caption="Runs and what they ended with")
    return f"{table}<p class='small'>{_meanings()}</p>"


def cost_map(evidence: Evidence) -> Heatmap:
    """Runs by steps: the mean change of old tasks."""
    rows = evidence.steps.select("run", "step", "mean_drop").rows()
    runs = list(evidence.runs)
    last = max(step for _, step, _ in rows)
    values = {(runs.index(run), step - 1): drop for run, step, drop in rows if step > 1}
    reach = max((abs(drop) for drop in values.values() if drop is not None), default=0.0) or 1.0
    return Heatmap(
        title="What every step cost.",
        note="Mean change of old tasks' scores, in points of 100: red where they lost, blue where they gained. "
        "Pick a cell to have its step explained.",
        rows=runs,
        columns=[str(step) for step in range(1, last + 1)],
        values=values,
        low=-reach,
        high=reach,
        digits=0,
        scale=100,
        unit=" points",
        corner="run, step",
        steps={at: (runs[at[0]], at[1] + 1) for at in values},
    )


def costliest(evidence: Evidence) -> dict[str, Costly]:
    """The step of each run at which old tasks lost most on average, with that mean; its last step where none is known.

    Returns:
        (mean change, step) by run.
    """
    found: dict[str, Costly] = {}
    for run, columns in evidence.steps_of.items():
        both = zip(columns["mean_drop"], columns["step"], strict=True)
        known = [(float(drop), int(step)) for drop, step in both if drop is not None]
        found[run] = min(known) if known else (None, int(columns["step"][-1]))
    return found


def first_step(evidence: Evidence) -> Step:
    """The step that the page opens with: the costliest of all."""
    worst = costliest(evidence)
    run = min(worst, key=lambda name: (worst[name][0] is None, worst[name][0] or 0.0, name))
    return run, worst[run][1]


def _meanings() -> str:
    known = {target.name: target for target in RUN_TARGETS}
    told = [f"<b>{escape(label(name))}</b>: {escape(known[name].meaning)}" for name in OUTCOMES]
    return " ".join([*told, "<b>Costliest step</b>: where old tasks lost most on average, and how much."])


def _row(row: dict[str, object], worst: Costly) -> list[str]:
    cells = [
        escape(str(row[name])) if row[name] is not None else DASH for name in ("size", "method", "seed", "n_steps")
    ]
    cells += [number(_float(row[name]), 3) for name in OUTCOMES]
    return [escape(str(row["run"])), *cells, _link(str(row["run"]), worst)]


def _link(run: str, worst: Costly) -> str:
    drop, step = worst
    name = escape(run, quote=True)
    cost = "" if drop is None else f" {number(drop, 3)}"
    return f"<button type='button' class='pick' data-run='{name}' data-step='{step}'>step {step}</button>{cost}"


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
