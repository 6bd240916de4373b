"""The step that is explained, with the steps it is compared with."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from geodiag.errors import SettingsError, StoreError
from geodiag.explain.evidence import StoreEvidence
from geodiag.signals import SIGNALS
from geodiag.stats.placement import Placement, Reference, place_step
from geodiag.stats.score_noise import SampledScore

_WITHIN_SIZE = frozenset(signal.name for signal in SIGNALS if signal.kind == "norm")
"""Signals that grow with the model, so that they are compared within a size."""


class Subject:
    """The step to explain.

    Args:
        evidence: what is known of its store.
        run: its run.
        step: its number, from 1.

    Raises:
        StoreError: the store does not hold the run.
        SettingsError: the run has no such step.
    """

    def __init__(self, evidence: StoreEvidence, run: str, step: int) -> None:
        self.evidence, self.run, self.step = evidence, run, step
        if run not in evidence.runs:
            fix = f"one of: {', '.join(evidence.runs)}"
            raise StoreError("the run is not in the store", where=evidence.store.path, run=run, fix=fix)
        last = max(self._steps["step"])
        if step not in self._steps["step"]:
            raise SettingsError("there is no such step", run=run, step=step, fix=f"one of 1 to {last}")

    @property
    def _steps(self) -> dict[str, list[Any]]:
        return self.evidence.steps_of[self.run]

    @property
    def at(self) -> int:
        """The place of the step among the run's, from 0."""
        return int(self._steps["step"].index(self.step))

    @cached_property
    def row(self) -> dict[str, Any]:
        """The step's signals, checks and outcomes."""
        return {name: values[self.at] for name, values in self._steps.items()}

    @cached_property
    def steps(self) -> list[int]:
        """The run's steps in order."""
        return [int(step) for step in self._steps["step"]]

    @cached_property
    def pairs(self) -> list[dict[str, Any]]:
        """The step's new task against each old one, the youngest first."""
        return [row for row in self.run_pairs if row["step"] == self.step]

    @property
    def run_pairs(self) -> list[dict[str, Any]]:
        """The same at every step of the run."""
        return self.evidence.pairs_of.get(self.run, [])

    @property
    def task(self) -> str | None:
        """The task trained at the step; None where it is not known."""
        return None if self.row["task"] is None else str(self.row["task"])

    @property
    def task_label(self) -> str:
        """The same as it was written."""
        return "an unnamed task" if self.task is None else self.label(self.task)

    def label(self, task: str) -> str:
        """A task as it was written."""
        return str(self.evidence.labels(self.run).get(task, task))

    def score(self, task: str, *, at: int | None = None) -> SampledScore | None:
        """A task's score, after this step by default."""
        return self.evidence.scores[self.run].get((self.step if at is None else at, task))

    def course(self, name: str) -> dict[int, float | None]:
        """A step signal at every step of the run."""
        return dict(zip(self.steps, self._steps[name], strict=True))

    def task_at(self, step: int) -> str | None:
        """The task that a step of the run trained."""
        return self._steps["task"][self.steps.index(step)]

    def place(self, name: str, *, floor: float = 0.0) -> Placement | None:
        """Where a step signal stands, in the run and in the store.

        Args:
            name: the signal.
            floor: the smallest spread to reckon with, such as the noise of a score.
        """
        size = str(self.row["size"]) if name in _WITHIN_SIZE else None
        place = place_step(self.course(name), self.step, floor=floor)
        return self.in_store(place, self.row[name], self.evidence.reference(name, size=size), within=size or "")

    def in_store(
        self, place: Placement | None, value: float | None, reference: Reference | None, *, within: str = ""
    ) -> Placement | None:
        """A place in the run with its place in the store added.

        Args:
            place: the place in the run.
            value: the number.
            reference: its values over the store.
            within: the model size that these are confined to.
        """
        if place is None or value is None or reference is None:
            return place
        percentile, among = reference.in_store(value)
        at_step, among_at_step = reference.at_step(value, run=self.run, step=self.step)
        return replace(
            place,
            percentile=percentile,
            among=among,
            at_step=at_step,
            among_at_step=among_at_step,
            within=within,
        )
