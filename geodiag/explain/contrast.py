"""Contrast of a step with others: the score of its own task, and its signals against the run's other steps."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from geodiag.common.text import counted, listed
from geodiag.explain.results import Line, LossCorrelation, Section
from geodiag.explain.subject import Subject
from geodiag.explain.text import number_words, signed
from geodiag.signals import SIGNALS, Signal
from geodiag.stats.score_noise import SampledScore, joint_quantile, score_difference, spread

LOW = 0.6
"""Share of the usual score under which a score, noise included, has stayed low."""
CLOSED = 0.25
"""Share of the gap to the usual score under which a step has not learnt its task."""
LEAST_PEERS = 3
"""Scores that a usual score needs."""


@dataclass(frozen=True)
class OwnTask:
    """Score of the task that the step trained, with those that are usual."""

    now: SampledScore
    """After the step."""
    before: SampledScore | None
    """One step earlier, at step 1 the base's."""
    interval: tuple[float, float] | None
    """The 95 % interval of the gain."""
    peers: float | None
    """Median score that other runs of this size reach on the task at the step that trains it."""
    n_peers: int
    """Number of these runs."""
    others: float | None
    """Median score that the run's other steps reach on their own tasks."""
    n_others: int
    """Number of these steps."""

    @property
    def usual(self) -> float | None:
        """The usual score: the higher of the two medians, each with at least `LEAST_PEERS` scores."""
        medians = [m for m, n in ((self.peers, self.n_peers), (self.others, self.n_others)) if n >= LEAST_PEERS]
        return max((m for m in medians if m is not None), default=None)

    @property
    def closed(self) -> float | None:
        """Share of the gap between the score before and the usual one that the step closed; None without a gap."""
        if self.usual is None or self.before is None or self.usual <= self.before.value:
            return None
        # (now - before) / (usual - before)
        return (self.now.value - self.before.value) / (self.usual - self.before.value)

    @property
    def failed(self) -> bool:
        """Whether the score stayed low and the step closed little of the gap."""
        if self.usual is None:
            return False
        ends = self.now.interval(joint_quantile(1))
        high = self.now.value if ends is None else ends[1]
        # Without a score before there is no gap, and only the low score is tested.
        little = self.closed is None or self.closed < CLOSED
        return high < LOW * self.usual and little


def own_task(subject: Subject) -> OwnTask | None:
    """The score of the step's own task; None where it was not scored after the step."""
    task = subject.task
    now = None if task is None else subject.score(task)
    if task is None or now is None:
        return None
    before = subject.score(task, at=subject.step - 1)
    peers = _peers(subject, task)
    others = [value for step, value in subject.series("current").items() if step != subject.step and value is not None]
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
    """Line on the score of the step's own task; None where it was not scored."""
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
        track=subject.store.correlations.steps["current"],
        weight=float("inf"),
        numbers=numbers,
        course=tuple(subject.series("current").values()),
        at=subject.at,
        warn=own.failed,
    )


def _text(label: str, own: OwnTask, gain: float | None) -> str:
    if own.before is None:
        text = f"Own task {label}: {number_words(own.now.value)} after the step; not scored before it"
    else:
        text = f"Own task {label}: {number_words(own.before.value)} → {number_words(own.now.value)} ({signed(gain)})"
    usual = []
    if own.peers is not None:
        usual.append(f"{number_words(own.peers)} in {counted(own.n_peers, 'other run')} of this size")
    if own.others is not None:
        usual.append(f"{number_words(own.others)} at the run's other steps on theirs")
    text += f"; median {' and '.join(usual)}" if usual else ""
    return f"{text}. It stayed low" if own.failed else text


def _peers(subject: Subject, task: str) -> list[float]:
    """Scores of the task right after its training in other runs of the same size."""
    rows = subject.store.own_scores.get((str(subject.row["size"]), task), [])
    return [score for run, score in rows if run != subject.run]


MAIN = ("update_norm", "state_gap", "active_conflict", "mean_grad_cos", "neg_grad_ratio")
"""Signals that are always shown where they are defined."""
SHOWN_SIGNALS = (*MAIN, "state_norm", "state_conflict", "global_gap", "active_sar", "state_sar", "min_grad_cos")
"""Signals that are considered; the others are the same at another scale."""
SHOWN_GRADIENTS = ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio")
"""Signals from probe gradients."""


def step_section(subject: Subject) -> Section:
    """Section on the signals of the step, against the run's other steps."""
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
    """Line on one signal; None where it is not defined at this step."""
    value = subject.row[signal.name]
    if value is None:
        return None
    place, track = subject.place(signal.name), subject.store.correlations.steps[signal.name]
    text = f"{signal.label} {number_words(value)}"
    if signal.name == "global_gap":
        text += f", which is {_gap_identity(subject)}"
    return Line(
        name=signal.name,
        label=signal.label,
        value=value,
        text=text,
        place=place,
        track=track,
        weight=0.0 if place is None else weigh(place.departure, track),
        course=tuple(subject.series(signal.name).values()),
        at=subject.at,
        warn=place is not None and place.stands_out,
    )


def weigh(departure: float, track: LossCorrelation | None) -> float:
    """Weight of a line: its departure times the trust in its kind of evidence (0.25 where there is no correlation)."""
    return departure * (0.25 if track is None else track.trust)


def _gap_identity(subject: Subject) -> str:
    """The global gap as a multiple of the state gap."""
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


def _notes(subject: Subject, defined: list[str]) -> list[str]:
    notes = []
    if subject.step == 1:
        notes.append("At step 1 there is no pair of active updates, so conflicts of pairs and both gaps are undefined.")
    if subject.store.configs[subject.run].get("memory") == "anchor":
        notes.append("The active set is the previous state and the new task: active signals compare these two.")
    if not any(name in defined for name in SHOWN_GRADIENTS):
        notes.append("Gradients were not measured here, so nothing is said of them.")
    others = len(subject.steps) - 1
    if 0 < others < 4:
        notes.append(f"With {counted(others, 'other step')} no robust z is given; it needs 4.")
    return notes
