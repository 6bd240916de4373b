"""What to try, each tied to the evidence it follows from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from geodiag.explain.causes import Case
from geodiag.explain.contrast import other_method
from geodiag.explain.results import Advice, CauseFinding, Verdict
from geodiag.explain.words import count, listed, number_words, signed

MOST_TASKS = 3
"""Tasks named for replay."""
WORTH_TELLING = 0.02
"""The smallest fall that more test items are suggested for."""


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
"""What each finding suggests; `{named}` is what it names, `{task}` the step's task."""
HARMLESS = ("not learnt", "repeat")
"""Findings worth acting on even where nothing was lost."""
OPPOSED_GRADIENT = "Replay old tasks in this step, or give it another place in the order"
"""What a finding from gradients suggests."""


def advise(case: Case, verdict: Verdict) -> tuple[Advice, ...]:
    """What to try: first what the findings suggest, then the losses, then what would make the numbers better."""
    lost = verdict.outcome == "lost"
    found = [_follow(case, finding) for finding in verdict.findings if lost or finding.cause in HARMLESS]
    if lost and verdict.cause != "no change":
        found += [_replay(case), *_order(case), *other_method(case)]
    return (*found, *_measure(case, verdict), *_health(case))


def _follow(case: Case, finding: CauseFinding) -> Advice:
    by_gradient = finding.cause in ("signal", "pair") and any("grad" in name for name in finding.lines)
    template = OPPOSED_GRADIENT if by_gradient else SUGGESTIONS[finding.cause]
    named = listed(finding.labels) if finding.labels else ""
    action = template.format(named=named, task=case.subject.task_label)
    of = "run" if finding.cause == "run" else "step"
    return Advice(action, f"the {of} {finding.text}", finding.lines)


def _replay(case: Case) -> Advice:
    lost = [loss for loss in case.losses if loss.is_lost][:MOST_TASKS]
    named = [case.subject.label(loss.task) for loss in lost]
    told = [f"{case.subject.label(loss.task)} {signed(loss.drop)}" for loss in lost]
    action = f"Replay examples of {listed(named)} while training {case.subject.task_label}"
    return Advice(action, f"they lost most: {listed(told)}", tuple(f"task:{loss.task}" for loss in lost))


def _order(case: Case) -> list[Advice]:
    """Another order, where the most hurt task is also the one whose update is most unlike the new one's."""
    rows = {row["old_task"]: row for row in case.subject.pairs if row["mean_conflict"] is not None}
    worst = case.losses[0].task
    gc = {task: row["mean_conflict"] for task, row in rows.items()}
    if len(rows) < 2 or max(gc, key=lambda task: gc[task]) != worst:
        return []
    near = min(gc, key=lambda task: gc[task])
    label, close = case.subject.label(worst), case.subject.label(near)
    why = f"{label} lost most and its update is the most unlike this step's (GC {number_words(gc[worst])}, against "
    why += f"{number_words(gc[near])} for {close})"
    action = f"Try another order: {case.subject.task_label} next to {close}, and {label} later"
    return [Advice(action, why, (f"pair:{worst}",))]


def _measure(case: Case, verdict: Verdict) -> list[Advice]:
    """What would have to be measured to say more."""
    found, subject = [], case.subject
    if verdict.outcome == "not scored":
        why = "its old tasks were not scored before and after it"
        found.append(Advice("Score every step on all tasks, name the file in run.yaml and extract again", why))
    if verdict.outcome == "within noise" and (advice := _more_items(case)) is not None:
        found.append(advice)
    if verdict.outcome == "lost" and verdict.confidence in ("none", "low"):
        if subject.row["mean_grad_cos"] is None and subject.step > 1:
            why = "the weights alone do not explain the step and gradients were not measured"
            found.append(Advice("Measure gradient conflict: extract with --gradients and a probes file", why))
        runs, least = len(subject.evidence.runs), subject.evidence.options.least_runs
        if runs < least:
            why = f"the store has {count(runs, 'run')}, and {least} are the least from which a relation can be told"
            found.append(Advice("Add runs to the store", why))
    return found


def _more_items(case: Case) -> Advice | None:
    """How many test items would tell the largest fall from noise."""
    fallen = [loss for loss in case.losses if (loss.drop or 0.0) <= -WORTH_TELLING]
    line = case.line(f"task:{fallen[0].task}") if fallen else None
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


def _health(case: Case) -> list[Advice]:
    """How to mend numbers that mean little."""
    lines = {name: case.line(f"health:{name}") for name in _FIXES}
    bad = {name: line for name, line in lines.items() if line is not None and line.warn}
    return [Advice(_FIXES[name], line.text, (line.name,)) for name, line in bad.items()]
