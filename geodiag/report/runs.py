"""The runs of a report: table, cost map, and panels of one run."""

from __future__ import annotations

from html import escape

from geodiag.common.schema import FAMILIES
from geodiag.explain import StoreEvidence
from geodiag.report.heatmap import AMOUNT, Heatmap, heatmap_html
from geodiag.report.sections import table_html
from geodiag.signals import RUN_TARGETS, run_outcomes
from geodiag.signals.catalog import label
from geodiag.tables.format import DASH, number_text


def run_panel(evidence: StoreEvidence, run: str) -> str:
    """The run's scores, the conflict of its tasks, and the shares of families in its steps' changes."""
    maps = (score_map(evidence, run), conflict_map(evidence, run), share_table(evidence, run))
    return "".join(heatmap_html(heat) for heat in maps if heat is not None)


def score_map(evidence: StoreEvidence, run: str) -> Heatmap | None:
    """Tasks by steps: scores, framed at the step that trained the task. None where nothing was scored."""
    scores = evidence.scores[run]
    if not scores:
        return None
    steps, trained = sorted({step for step, _ in scores}), _trained(evidence, run)
    order = [*trained, *sorted({task for _, task in scores} - set(trained))]
    names = evidence.labels(run)
    return Heatmap(
        title="Scores.",
        note="In points of 100; step 0 is the base. A frame marks the step that trained the task.",
        rows=[names.get(task, task) for task in order],
        columns=[str(step) for step in steps],
        values={(order.index(task), steps.index(step)): score.value for (step, task), score in scores.items()},
        low=0.0,
        high=1.0,
        colors=AMOUNT,
        digits=0,
        scale=100,
        unit=" points",
        corner="task, step",
        marks=frozenset((order.index(task), steps.index(step)) for task, step in trained.items() if step in steps),
        steps={
            (order.index(task), steps.index(step)): (run, step) for step, task in scores if step in trained.values()
        },
    )


def conflict_map(evidence: StoreEvidence, run: str) -> Heatmap | None:
    """New tasks by old tasks: geometry conflict. None where no two were compared."""
    pairs = [row for row in evidence.pairs_of.get(run, []) if row["mean_conflict"] is not None]
    if not pairs:
        return None
    order, names = list(_trained(evidence, run)), evidence.labels(run)
    conflicts = [row["mean_conflict"] for row in pairs]
    return Heatmap(
        title="Geometry conflict.",
        note="Of the new task's update (row) and each old one's (column), the mean over layers; light: unlike.",
        rows=[names.get(task, task) for task in order[1:]],
        columns=[names.get(task, task) for task in order[:-1]],
        values={
            (order.index(row["new_task"]) - 1, order.index(row["old_task"])): row["mean_conflict"] for row in pairs
        },
        low=min(conflicts),
        high=max(conflicts),
        colors=AMOUNT,
        corner="new, old",
        steps={(order.index(row["new_task"]) - 1, order.index(row["old_task"])): (run, row["step"]) for row in pairs},
    )


def share_table(evidence: StoreEvidence, run: str) -> Heatmap | None:
    """Families by steps: shares of the squared change. None without known norms, or with a single family."""
    shares = evidence.shares_of("family", "step").get(run, {})
    if len(shares) < 2:
        return None
    steps = sorted({step for by_step in shares.values() for step in by_step})
    order = sorted((str(family) for family in shares), key=lambda f: (FAMILIES.index(f) if f in FAMILIES else 99, f))
    return Heatmap(
        title="Where the steps changed the weights.",
        note="Each family's share of a step's squared change, in percent.",
        rows=order,
        columns=[str(step) for step in steps],
        values={
            (order.index(str(family)), steps.index(step)): share
            for family, by_step in shares.items()
            for step, share in by_step.items()
        },
        low=0.0,
        high=max(share for by_step in shares.values() for share in by_step.values()),
        colors=AMOUNT,
        digits=0,
        scale=100,
        unit=" %",
        corner="family, step",
        steps={(row, steps.index(step)): (run, step) for row in range(len(order)) for step in steps},
    )


def _trained(evidence: StoreEvidence, run: str) -> dict[str, int]:
    """The run's tasks in order, and the step that trained each."""
    columns = evidence.steps_of[run]
    return {task: step for step, task in zip(columns["step"], columns["task"], strict=True) if task is not None}


RUN_OUTCOMES = ("OP", "BWT", "FWT", "forgetting", "retention_loss")
"""Outcomes of a run in its table, at the last step."""
RUN_HEADINGS = ("run", "size", "method", "seed", "steps", *(label(name) for name in RUN_OUTCOMES), "costliest step")
"""Headings of the columns."""

StepKey = tuple[str, int]
"""A run and a step of it."""
Costly = tuple[float | None, int]
"""Mean change of old tasks' scores at a step, and the step."""


def runs_table(evidence: StoreEvidence) -> str:
    """One row a run with a link to its costliest step, and the meanings of the columns below."""
    worst = costliest(evidence)
    rows = [_row(row, worst[row["run"]]) for row in run_outcomes(evidence.store).iter_rows(named=True)]
    right = [name not in ("run", "size", "method") for name in RUN_HEADINGS]
    table = table_html(RUN_HEADINGS, rows, right, caption="Runs and what they ended with")
    return f"{table}<p class='small'>{_meanings()}</p>"


def cost_map(evidence: StoreEvidence) -> Heatmap:
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


def costliest(evidence: StoreEvidence) -> dict[str, Costly]:
    """The step of each run at which old tasks lost most on average; its last step where none was scored.

    Returns:
        (mean change, step) by run.
    """
    costly: dict[str, Costly] = {}
    for run, columns in evidence.steps_of.items():
        both = zip(columns["mean_drop"], columns["step"], strict=True)
        changes = [(float(drop), int(step)) for drop, step in both if drop is not None]
        costly[run] = min(changes) if changes else (None, int(columns["step"][-1]))
    return costly


def first_step(evidence: StoreEvidence) -> StepKey:
    """The step that the page opens with: the costliest of all."""
    worst = costliest(evidence)
    run = min(worst, key=lambda name: (worst[name][0] is None, worst[name][0] or 0.0, name))
    return run, worst[run][1]


def _meanings() -> str:
    targets = {target.name: target for target in RUN_TARGETS}
    meanings = [f"<b>{escape(label(name))}</b>: {escape(targets[name].meaning)}" for name in RUN_OUTCOMES]
    return " ".join([*meanings, "<b>Costliest step</b>: where old tasks lost most on average, and how much."])


def _row(row: dict[str, object], worst: Costly) -> list[str]:
    cells = [
        escape(str(row[name])) if row[name] is not None else DASH for name in ("size", "method", "seed", "n_steps")
    ]
    cells += [number_text(_float(row[name]), 3) for name in RUN_OUTCOMES]
    return [escape(str(row["run"])), *cells, _link(str(row["run"]), worst)]


def _link(run: str, worst: Costly) -> str:
    drop, step = worst
    name = escape(run, quote=True)
    cost = "" if drop is None else f" {number_text(drop, 3)}"
    return f"<button type='button' class='pick' data-run='{name}' data-step='{step}'>step {step}</button>{cost}"


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
