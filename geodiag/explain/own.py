"""Whether the step's own task was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from geodiag.explain.noise import Score, difference, joint_quantile, spread
from geodiag.explain.results import Line
from geodiag.explain.subject import Subject
from geodiag.explain.words import count, figure, signed

LOW = 0.6
"""A task whose score ends, noise included, under this share of what is usual has stayed low."""
CLOSED = 0.25
"""A step that closes less than this share of the gap to what is usual has not learnt its task."""
LEAST_PEERS = 3
"""Scores that say what is usual."""


@dataclass(frozen=True)
class OwnTask:
    """The score of the task that the step trained."""

    now: Score
    """After the step."""
    before: Score | None
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
        None if before is None else difference(now, before, joint_quantile(1)),
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
        told = f"Own task {label}: {figure(own.now.value)} after the step; not scored before it"
    else:
        told = f"Own task {label}: {figure(own.before.value)} → {figure(own.now.value)} ({signed(gain)})"
    usual = []
    if own.peers is not None:
        usual.append(f"{figure(own.peers)} in {count(own.n_peers, 'other run')} of this size")
    if own.others is not None:
        usual.append(f"{figure(own.others)} at the run's other steps on theirs")
    told += f"; median {' and '.join(usual)}" if usual else ""
    return f"{told}. It stayed low" if own.failed else told


def _peers(subject: Subject, task: str) -> list[float]:
    """Scores of the task right after its training in other runs of the same size."""
    rows = subject.evidence.own_scores.get((str(subject.row["size"]), task), [])
    return [score for run, score in rows if run != subject.run]
