"""What the same step cost under other methods."""

from __future__ import annotations

from geodiag.explain.causes import Case
from geodiag.explain.results import Advice
from geodiag.explain.words import signed

SAVED = 0.5
"""The share of the loss that another method must have been spared to be named."""
LEAST = 0.05
"""The smallest difference in mean change worth naming."""


def other_method(case: Case) -> list[Advice]:
    """The method that lost least at this very step, where one lost far less.

    Only runs of the same size are compared that trained the same task after the same tasks, in whichever order, so that
    the same knowledge was at stake.
    """
    here, mine = _cost(case, case.subject.run), case.subject.row["method"]
    if here is None:
        return []
    costs = {run: cost for run in _alike(case) if (cost := _cost(case, run)) is not None}
    if not costs:
        return []
    best = max(costs, key=lambda run: costs[run])
    if costs[best] - here < max(SAVED * -here, LEAST):
        return []
    method = case.subject.evidence.runs[best]["method"]
    alike = f", the least costly of {len(costs)} of this size with" if len(costs) > 1 else ", of this size and with"
    why = f"run {best}{alike} the same tasks behind, changed old tasks by {signed(costs[best])} on average in training "
    why += f"{case.subject.task_label}, against {signed(here)} here under {mine}"
    return [Advice(f"Train this step as {method} does", why, ("mean_drop",))]


def _alike(case: Case) -> list[str]:
    """Runs of other methods with the same size, the same task at this step and the same tasks before it."""
    evidence, subject = case.subject.evidence, case.subject
    return [
        run
        for run, labels in evidence.runs.items()
        if labels["method"] != subject.row["method"]
        and labels["size"] == subject.row["size"]
        and _tasks(case, run) == _tasks(case, subject.run)
    ]


def _tasks(case: Case, run: str) -> tuple[str | None, frozenset[str | None]] | None:
    """The task of this step in a run, and those before it; None where the run is shorter."""
    columns, step = case.subject.evidence.steps_of[run], case.subject.step
    by_step = dict(zip(columns["step"], columns["task"], strict=True))
    if step not in by_step:
        return None
    return by_step[step], frozenset(task for at, task in by_step.items() if at < step)


def _cost(case: Case, run: str) -> float | None:
    """The mean change of old tasks at this step in a run."""
    columns = case.subject.evidence.steps_of[run]
    found: float | None = dict(zip(columns["step"], columns["mean_drop"], strict=True)).get(case.subject.step)
    return found
