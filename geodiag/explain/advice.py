"""Recommended actions, each with the evidence it follows from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodiag.common.text import counted, listed
from geodiag.explain.causes import StepEvidence
from geodiag.explain.results import Advice, CauseFinding, Verdict
from geodiag.explain.text import number_words, signed

MOST_TASKS = 3
"""Tasks named for replay."""
SMALLEST_FALL = 0.02
"""The smallest fall for which more test items are recommended."""
SAVED = 0.5
"""Share of the loss that another method must avoid to be recommended."""
LEAST_DIFFERENCE = 0.05
"""Smallest difference in mean change for which another method is recommended."""


SUGGESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "no change": "Score this step's and the previous checkpoint again, with the same items and decoding",
        "family": "Repeat the step with {named} frozen, regularised or at a smaller learning rate, or merge with a "
        "smaller coefficient there",
        "block": "Repeat the step with {named} frozen, regularised or at a smaller learning rate",
        "not learnt": "Look at the labels, the prompt format and the learning rate of {task}, which may be too "
        "hard for the model; leave the step out until it learns",
        "repeat": "Leave the step out, or train {task} and {named} as one task",
        "small update": "Look at the scores before the training: score both checkpoints again",
        "large update": "Repeat the step with a smaller learning rate, or merge it with a smaller coefficient",
        "signal": "Merge the step with a smaller coefficient, or the experts with GCWM (`geodiag merge`)",
        "pair": "Replay {named}, or merge the experts with GCWM (`geodiag merge`)",
        "run": "Change what this run does at all steps, such as its method, learning rate or merge coefficient",
    }
)
"""Action for each finding; `{named}` stands for its labels, `{task}` for the step's task."""
HARMLESS = ("not learnt", "repeat")
"""Findings with advice even where nothing was lost."""
OPPOSED_GRADIENT = "Replay old tasks in this step, or give it another place in the order"
"""Action for a finding from gradients."""


def advise(evidence: StepEvidence, verdict: Verdict) -> tuple[Advice, ...]:
    """Recommended actions: for the findings, for the losses, then for better measurements."""
    lost = verdict.outcome == "lost"
    advice = [_follow(evidence, finding) for finding in verdict.findings if lost or finding.cause in HARMLESS]
    if lost and verdict.cause != "no change":
        advice += [_replay(evidence), *_order(evidence), *_other_method(evidence)]
    return (*advice, *_measure(evidence, verdict), *_health(evidence))


def _follow(evidence: StepEvidence, finding: CauseFinding) -> Advice:
    by_gradient = finding.cause in ("signal", "pair") and any("grad" in name for name in finding.lines)
    template = OPPOSED_GRADIENT if by_gradient else SUGGESTIONS[finding.cause]
    named = listed(finding.labels) if finding.labels else ""
    action = template.format(named=named, task=evidence.subject.task_label)
    of = "run" if finding.cause == "run" else "step"
    return Advice(action, f"the {of} {finding.text}", finding.lines)


def _replay(evidence: StepEvidence) -> Advice:
    lost = [change for change in evidence.changes if change.is_lost][:MOST_TASKS]
    named = [evidence.subject.label(change.task) for change in lost]
    drops = [f"{evidence.subject.label(change.task)} {signed(change.drop)}" for change in lost]
    action = f"Replay examples of {listed(named)} while training {evidence.subject.task_label}"
    return Advice(action, f"they lost most: {listed(drops)}", tuple(f"task:{change.task}" for change in lost))


def _order(evidence: StepEvidence) -> list[Advice]:
    """Another order, where the task that lost most also has the update with the highest GC to the new one's."""
    rows = {row["old_task"]: row for row in evidence.subject.pairs if row["mean_conflict"] is not None}
    worst = evidence.changes[0].task
    gc = {task: row["mean_conflict"] for task, row in rows.items()}
    if len(rows) < 2 or max(gc, key=lambda task: gc[task]) != worst:
        return []
    near = min(gc, key=lambda task: gc[task])
    label, close = evidence.subject.label(worst), evidence.subject.label(near)
    why = f"{label} lost most and its update is the most unlike this step's (GC {number_words(gc[worst])}, against "
    why += f"{number_words(gc[near])} for {close})"
    action = f"Try another order: {evidence.subject.task_label} next to {close}, and {label} later"
    return [Advice(action, why, (f"pair:{worst}",))]


def _other_method(evidence: StepEvidence) -> list[Advice]:
    """The method with the least loss at this step, where one lost far less.

    Compared are runs of the same size that trained the same task after the same tasks, in any order.
    """
    here, mine = _mean_drop(evidence, evidence.subject.run), evidence.subject.row["method"]
    if here is None:
        return []
    drops = {run: drop for run in _comparable_runs(evidence) if (drop := _mean_drop(evidence, run)) is not None}
    if not drops:
        return []
    best = max(drops, key=lambda run: drops[run])
    if drops[best] - here < max(SAVED * -here, LEAST_DIFFERENCE):
        return []
    method = evidence.subject.store.runs[best]["method"]
    among = f", the least costly of {len(drops)} of this size with" if len(drops) > 1 else ", of this size and with"
    why = f"run {best}{among} the same tasks behind, changed old tasks by {signed(drops[best])} on average in training "
    why += f"{evidence.subject.task_label}, against {signed(here)} here under {mine}"
    return [Advice(f"Train this step as {method} does", why, ("mean_drop",))]


def _comparable_runs(evidence: StepEvidence) -> list[str]:
    """Runs of other methods with the same size, the same task at this step and the same tasks before it."""
    subject = evidence.subject
    return [
        run
        for run, labels in subject.store.runs.items()
        if labels["method"] != subject.row["method"]
        and labels["size"] == subject.row["size"]
        and _tasks(evidence, run) == _tasks(evidence, subject.run)
    ]


def _tasks(evidence: StepEvidence, run: str) -> tuple[str | None, frozenset[str | None]] | None:
    """The task of this step in a run, and those before it; None where the run is shorter."""
    columns, step = evidence.subject.store.steps_of[run], evidence.subject.step
    by_step = dict(zip(columns["step"], columns["task"], strict=True))
    if step not in by_step:
        return None
    return by_step[step], frozenset(task for at, task in by_step.items() if at < step)


def _mean_drop(evidence: StepEvidence, run: str) -> float | None:
    """The mean change of old tasks at this step in a run."""
    columns = evidence.subject.store.steps_of[run]
    drop: float | None = dict(zip(columns["step"], columns["mean_drop"], strict=True)).get(evidence.subject.step)
    return drop


def _measure(evidence: StepEvidence, verdict: Verdict) -> list[Advice]:
    """Measurements and runs that are missing."""
    advice, subject = [], evidence.subject
    if verdict.outcome == "not scored":
        why = "its old tasks were not scored before and after it"
        advice.append(Advice("Score every step on all tasks, name the file in run.yaml and extract again", why))
    if verdict.outcome == "within noise" and (more := _more_items(evidence)) is not None:
        advice.append(more)
    if verdict.outcome == "lost" and verdict.confidence in ("none", "low"):
        if subject.row["mean_grad_cos"] is None and subject.step > 1:
            why = "the weights alone do not explain the step and gradients were not measured"
            advice.append(Advice("Measure gradient conflict: extract with --gradients and a probes file", why))
        runs, least = len(subject.store.runs), subject.store.options.least_runs
        if runs < least:
            why = f"the store has {counted(runs, 'run')}, and {least} are the least from which a relation can be told"
            advice.append(Advice("Add runs to the store", why))
    return advice


def _more_items(evidence: StepEvidence) -> Advice | None:
    """More test items, as many as the largest fall needs to exceed its noise."""
    fallen = [change for change in evidence.changes if (change.drop or 0.0) <= -SMALLEST_FALL]
    line = evidence.line(f"task:{fallen[0].task}") if fallen else None
    needed = None if line is None else line.numbers.get("items_needed")
    if line is None or needed is None or needed > 100_000:
        return None
    why = f"{line.label} fell by {number_words(-(line.value or 0.0))}, which so many items would tell from noise"
    return Advice(f"Score on about {needed:.0f} items a task", why, (line.name,))


_FIXES: Mapping[str, str] = MappingProxyType(
    {
        "floor_share": "Store checkpoints in a wider type, such as float32",
        "lambda_share_mean": "Extract again with a smaller --lambda",
        "energy_kept": "Extract again with a higher --rank",
        "grad_reliability": "Measure gradients with more --probes-per-task",
    }
)


def _health(evidence: StepEvidence) -> list[Advice]:
    """Remedies of the failed checks."""
    lines = {name: evidence.line(f"health:{name}") for name in _FIXES}
    bad = {name: line for name, line in lines.items() if line is not None and line.warn}
    return [Advice(_FIXES[name], line.text, (line.name,)) for name, line in bad.items()]
