"""What is shown of a run beside the explanations of its steps."""

from __future__ import annotations

from geodiag.explain import Evidence
from geodiag.families import FAMILIES
from geodiag.report.color import AMOUNT
from geodiag.report.heat import Heatmap, as_html


def run_panel(evidence: Evidence, run: str) -> str:
    """The run's scores, the conflict of its tasks, and where its steps changed the weights."""
    maps = (score_map(evidence, run), conflict_map(evidence, run), share_map(evidence, run))
    return "".join(as_html(heat) for heat in maps if heat is not None)


def score_map(evidence: Evidence, run: str) -> Heatmap | None:
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


def conflict_map(evidence: Evidence, run: str) -> Heatmap | None:
    """New tasks by old tasks: geometry conflict. None where no two were compared."""
    pairs = [row for row in evidence.pairs_of.get(run, []) if row["mean_conflict"] is not None]
    if not pairs:
        return None
    order, names = list(_trained(evidence, run)), evidence.labels(run)
    found = [row["mean_conflict"] for row in pairs]
    return Heatmap(
        title="Geometry conflict.",
        note="Of the new task's update (row) and each old one's (column), the mean over layers; light: unlike.",
        rows=[names.get(task, task) for task in order[1:]],
        columns=[names.get(task, task) for task in order[:-1]],
        values={
            (order.index(row["new_task"]) - 1, order.index(row["old_task"])): row["mean_conflict"] for row in pairs
        },
        low=min(found),
        high=max(found),
        colors=AMOUNT,
        corner="new, old",
        steps={(order.index(row["new_task"]) - 1, order.index(row["old_task"])): (run, row["step"]) for row in pairs},
    )


def share_map(evidence: Evidence, run: str) -> Heatmap | None:
    """Families by steps: shares of the squared change. None where it is not known, or there is one family."""
    shares = evidence.shares_of("family", "step").get(run, {})
    if len(shares) < 2:
        return None
    steps = sorted({step for course in shares.values() for step in course})
    order = sorted((str(family) for family in shares), key=lambda f: (FAMILIES.index(f) if f in FAMILIES else 99, f))
    return Heatmap(
        title="Where the steps changed the weights.",
        note="Each family's share of a step's squared change, in percent.",
        rows=order,
        columns=[str(step) for step in steps],
        values={
            (order.index(str(family)), steps.index(step)): share
            for family, course in shares.items()
            for step, share in course.items()
        },
        low=0.0,
        high=max(share for course in shares.values() for share in course.values()),
        colors=AMOUNT,
        digits=0,
        scale=100,
        unit=" %",
        corner="family, step",
        steps={(row, steps.index(step)): (run, step) for row in range(len(order)) for step in steps},
    )


def _trained(evidence: Evidence, run: str) -> dict[str, int]:
    """The run's tasks in order, and the step that trained each."""
    columns = evidence.steps_of[run]
    return {task: step for step, task in zip(columns["step"], columns["task"], strict=True) if task is not None}
