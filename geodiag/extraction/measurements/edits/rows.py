"""Scores of edits as rows of the table `edits`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geodiag.extraction.measurements.edits.choosing import Candidate
from geodiag.extraction.measurements.edits.judging import Scores, StepScores, TaskScores, side_losses
from geodiag.extraction.measurements.measurement import Row
from geodiag.models.probes import Half
from geodiag.stats.score_noise import Numbers, RatioInterval, ratio_interval


@dataclass(frozen=True)
class EditRows:
    """How the edits of one step and half become rows."""

    step: int
    half: Half
    scores: StepScores
    level: float | None
    """Coverage of each interval; None on the choosing half, which has none."""

    def of(self, edited: Candidate, *, chosen_for: str) -> Iterator[Row]:
        """One row a task."""
        side = self._side_worst(edited.scores)
        learnt = self.scores.learnt()
        for task, own in edited.scores.items():
            yield {
                "step": self.step,
                "edit": edited.edit.name,
                "chosen_for": chosen_for,
                "half": self.half,
                "task": task,
                "kind": edited.edit.kind,
                "groups": list(edited.edit.groups),
                "share_of_matrices": edited.share_of_matrices,
                "squared_share": edited.squared_share,
                "loss": float(own.loss.mean()),
                "p_target": float(own.p.mean()),
                "exact": float(own.exact.mean()),
                **self._restored(task, own),
                **self._kept(task, own, learnt=learnt),
                "side_worst": side,
                "n": len(own.loss),
            }

    def _restored(self, task: str, own: TaskScores) -> Row:
        if task not in self.scores.lost:
            return dict.fromkeys(f"restored_{name}" for name in ("loss", "p", "low", "high", "exact"))
        before, after = self.scores.before[task], self.scores.after[task]
        p = self._ratio(own.p - after.p, before.p - after.p)
        return {
            "restored_loss": _mean_ratio(after.loss - own.loss, after.loss - before.loss),
            "restored_p": p.estimate,
            "restored_low": p.low,
            "restored_high": p.high,
            "restored_exact": _mean_ratio(own.exact - after.exact, before.exact - after.exact),
        }

    def _kept(self, task: str, own: TaskScores, *, learnt: bool) -> Row:
        names = ("kept", "kept_loss", "kept_exact", "kept_low", "kept_high")
        if task != self.scores.new or not learnt:
            return dict.fromkeys(names)
        before, after = self.scores.before[task], self.scores.after[task]
        p = self._ratio(own.p - before.p, after.p - before.p)
        loss = _mean_ratio(before.loss - own.loss, before.loss - after.loss)
        exact = _mean_ratio(own.exact - before.exact, after.exact - before.exact)
        return dict(zip(names, (p.estimate, loss, exact, p.low, p.high), strict=True))

    def _ratio(self, numerator: Numbers, denominator: Numbers) -> RatioInterval:
        if self.level is None:
            return RatioInterval(_mean_ratio(numerator, denominator), None, None)
        return ratio_interval([numerator], [denominator], level=self.level)

    def _side_worst(self, edited: Scores) -> float | None:
        changes = [
            float((edited[task].p - self.scores.before[task].p).mean()) for task in side_losses(edited, self.scores)
        ]
        return min(changes, default=None)


def _mean_ratio(numerator: Numbers, denominator: Numbers) -> float | None:
    below = float(denominator.mean())
    return float(numerator.mean()) / below if below != 0 else None
