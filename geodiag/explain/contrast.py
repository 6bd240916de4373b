"""Contrast of a step with others: its own task, the other steps of the run, the same step under other methods."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from geodiag.explain.causes import Case
from geodiag.explain.results import Advice, Line, Section, Track
from geodiag.explain.subject import Subject
from geodiag.explain.words import count, listed, number_words, signed
from geodiag.signals import SIGNALS, Signal
from geodiag.stats.score_noise import SampledScore, joint_quantile, score_difference, spread

LOW = 0.6
"""A task whose score ends, noise included, under this share of what is usual has stayed low."""
CLOSED = 0.25
"""A step that closes less than this share of the gap to what is usual has not learnt its task."""
LEAST_PEERS = 3
"""Scores that say what is usual."""


@dataclass(frozen=True)
class OwnTask:
    """The score of the task that the step trained."""

    now: SampledScore
    """After the step."""
    before: SampledScore | None
    """One step earlier, at step 1 the base's."""
    interval: tuple[float, float] | None
    """The 95 % interval of the gain."""
    peers: float | None
    """Median score that other runs of this size reach on the task at the step that trains it."""
    n_peers: int
    """How many such runs there are."""
    others: float | None
    """Median score that the run's other steps reach on their own tasks."""
    n_others: int
    """How many such steps there are."""

    @property
    def usual(self) -> float | None:
        """What is usual: the higher median of those that rest on enough scores."""
        known = [m for m, n in ((self.peers, self.n_peers), (self.others, self.n_others)) if n >= LEAST_PEERS]
        return max((m for m in known if m is not None), default=None)

    @property
    def closed(self) -> float | None:
        """The share of the gap between the score before and the usual one that the step closed."""
        if self.usual is None or self.before is None or self.usual <= self.before.value:
            return None
        return (self.now.value - self.before.value) / (self.usual - self.before.value)

    @property
    def failed(self) -> bool:
        """Whether the score stayed low and the step did little about it."""
        if self.usual is None:
            return False
        ends = self.now.interval(joint_quantile(1))
        high = self.now.value if ends is None else ends[1]
        # Without a score before, staying low is all that can be seen.
        little = self.closed is None or self.closed < CLOSED
        return high < LOW * self.usual and little


def own_task(subject: Subject) -> OwnTask | None:
    """The step's own task; None where it was not scored after the step."""
    task = subject.task
    now = None if task is None else subject.score(task)
    if task is None or now is None:
        return None
    before = subject.score(task, at=subject.step - 1)
    peers = _peers(subject, task)
    others = [value for step, value in subject.course("current").items() if step != subject.step and value is not None]
    return OwnTask(
        now,
        before,
        None if before is None else score_difference(now, before, joint_quantile(1)),
        median(peers) if peers else None,
        len(peers),
        median(others) if others else None,
        len(others),
    )


def own_task_line(subject: Subject) -> Line | None:
    """The line on it."""
    own = own_task(subject)
    if own is None:
        return None
    gain = None if own.before is None else round(own.now.value - own.before.value, 12)
    low, high = own.interval or (None, None)
    numbers = {"before": None if own.before is None else own.before.value, "gain": gain}
    numbers |= {"gain_low": low, "gain_high": high, "peers": own.peers, "n_peers": own.n_peers}
    numbers |= {"others": own.others, "n_others": own.n_others, "closed": own.closed}
    return Line(
        name="current",
        label=f"Own task, {subject.task_label}",
        value=own.now.value,
        text=_text(subject.task_label, own, gain),
        place=subject.place("current", floor=spread(own.now)),
        track=subject.evidence.tracks.steps["current"],
        weight=float("inf"),
        numbers=numbers,
        course=tuple(subject.course("current").values()),
        at=subject.at,
        warn=own.failed,
    )


def _text(label: str, own: OwnTask, gain: float | None) -> str:
    if own.before is None:
        told = f"Own task {label}: {number_words(own.now.value)} after the step; not scored before it"
    else:
        told = f"Own task {label}: {number_words(own.before.value)} → {number_words(own.now.value)} ({signed(gain)})"
    usual = []
    if own.peers is not None:
        usual.append(f"{number_words(own.peers)} in {count(own.n_peers, 'other run')} of this size")
    if own.others is not None:
        usual.append(f"{number_words(own.others)} at the run's other steps on theirs")
    told += f"; median {' and '.join(usual)}" if usual else ""
    return f"{told}. It stayed low" if own.failed else told


def _peers(subject: Subject, task: str) -> list[float]:
    """Scores of the task right after its training in other runs of the same size."""
    rows = subject.evidence.own_scores.get((str(subject.row["size"]), task), [])
    return [score for run, score in rows if run != subject.run]


SAVED = 0.5
"""The share of the loss that another method must have been spared to be named."""
LEAST_OTHER_RUNS = 0.05
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
    if costs[best] - here < max(SAVED * -here, LEAST_OTHER_RUNS):
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


MAIN = ("update_norm", "state_gap", "active_conflict", "mean_grad_cos", "neg_grad_ratio")
"""Signals that are always shown where they are known."""
SHOWN_SIGNALS = (*MAIN, "state_norm", "state_conflict", "global_gap", "active_sar", "state_sar", "min_grad_cos")
"""Signals that are looked at; the rest say the same at another scale."""
SHOWN_GRADIENTS = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""Signals from probe gradients."""


def step_section(subject: Subject) -> Section:
    """The section on how the step differed."""
    signals = [signal for signal in SIGNALS if signal.name in SHOWN_SIGNALS]
    lines = [line for signal in signals if (line := signal_line(subject, signal)) is not None]
    lines.sort(key=lambda line: -line.weight)
    shown = [line for line in lines if line.name in MAIN or line.warn]
    rest = [line for line in lines if line not in shown]
    own = own_task_line(subject)
    return Section(
        "step",
        "How the step differed",
        _lead(lines, own),
        tuple(([own] if own else []) + shown),
        tuple(rest),
        tuple(_notes(subject, [line.name for line in lines])),
    )


def signal_line(subject: Subject, signal: Signal) -> Line | None:
    """One signal; None where it is not defined at this step."""
    value = subject.row[signal.name]
    if value is None:
        return None
    place, track = subject.place(signal.name), subject.evidence.tracks.steps[signal.name]
    told = f"{signal.label} {number_words(value)}"
    if signal.name == "global_gap":
        told += f", which is {_gap_truth(subject)}"
    return Line(
        name=signal.name,
        label=signal.label,
        value=value,
        text=told,
        place=place,
        track=track,
        weight=0.0 if place is None else weigh(place.departure, track),
        course=tuple(subject.course(signal.name).values()),
        at=subject.at,
        warn=place is not None and place.stands_out,
    )


def weigh(departure: float, track: Track | None) -> float:
    """What a departure counts for: departure times the trust in its kind of evidence."""
    return departure * (0.25 if track is None else track.trust)


def _gap_truth(subject: Subject) -> str:
    """What the global gap is made of."""
    active, gap = subject.row["n_active"], subject.row["state_gap"]
    return f"the state gap {number_words(gap)} times 2/({active} + 1) as λ → 0, so that it carries the step index"


def _lead(lines: list[Line], own: Line | None) -> str:
    unusual = [line.label for line in lines if line.warn]
    failed = "Its own task stayed low. " if own is not None and own.warn else ""
    if not any(line.place is not None and line.place.z is not None for line in lines):
        return f"{failed}There are too few other steps to say what is usual in this run."
    if not unusual:
        return f"{failed}No signal is unusual for this run."
    return f"{failed}Unusual for this run: {listed(unusual)}."


def _notes(subject: Subject, known: list[str]) -> list[str]:
    notes = []
    if subject.step == 1:
        notes.append("At step 1 there is no pair of active updates, so conflicts of pairs and both gaps are undefined.")
    if subject.evidence.configs[subject.run].get("memory") == "anchor":
        notes.append("The active set is the previous state and the new task: active signals compare these two.")
    if not any(name in known for name in SHOWN_GRADIENTS):
        notes.append("Gradients were not measured here, so nothing is said of them.")
    others = len(subject.steps) - 1
    if 0 < others < 4:
        notes.append(f"With {count(others, 'other step')} no robust z is given; it needs 4.")
    return notes
