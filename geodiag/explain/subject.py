"""The step to explain, with its rows of the store and those of the run's other steps."""

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
    """The step to explain, with its rows of the store.

    Args:
        store: evidence of its store.
        run: its run.
        step: its number, from 1.

    Raises:
        StoreError: the store does not hold the run.
        SettingsError: the run has no such step.
    """

    def __init__(self, store: StoreEvidence, run: str, step: int) -> None:
        self.store, self.run, self.step = store, run, step
        if run not in store.runs:
            fix = f"one of: {', '.join(store.runs)}"
            raise StoreError("the run is not in the store", where=store.store.path, run=run, fix=fix)
        last = max(self._columns["step"])
        if step not in self._columns["step"]:
            raise SettingsError("there is no such step", run=run, step=step, fix=f"one of 1 to {last}")

    @property
    def _columns(self) -> dict[str, list[Any]]:
        return self.store.steps_of[self.run]

    @property
    def at(self) -> int:
        """Index of the step among the run's, from 0."""
        return int(self._columns["step"].index(self.step))

    @cached_property
    def row(self) -> dict[str, Any]:
        """The step's signals, checks and outcomes."""
        return {name: values[self.at] for name, values in self._columns.items()}

    @cached_property
    def steps(self) -> list[int]:
        """The run's steps in order."""
        return [int(step) for step in self._columns["step"]]

    @cached_property
    def pairs(self) -> list[dict[str, Any]]:
        """Rows of the step's new task with each old one, the most recently trained first."""
        return [row for row in self.run_pairs if row["step"] == self.step]

    @property
    def run_pairs(self) -> list[dict[str, Any]]:
        """Pair rows of every step of the run."""
        return self.store.pairs_of.get(self.run, [])

    @property
    def task(self) -> str | None:
        """The task trained at the step; None where the store does not name it."""
        return None if self.row["task"] is None else str(self.row["task"])

    @property
    def task_label(self) -> str:
        """Its label in the manifest."""
        return "an unnamed task" if self.task is None else self.label(self.task)

    def label(self, task: str) -> str:
        """A task's label in the manifest."""
        return str(self.store.labels(self.run).get(task, task))

    def score(self, task: str, *, at: int | None = None) -> SampledScore | None:
        """A task's score after a step, by default after this one; None where it was not scored."""
        return self.store.scores[self.run].get((self.step if at is None else at, task))

    def series(self, name: str) -> dict[int, float | None]:
        """A step signal at every step of the run."""
        return dict(zip(self.steps, self._columns[name], strict=True))

    def place(self, name: str, *, floor: float = 0.0) -> Placement | None:
        """A step signal among those of the run and of the store.

        Args:
            name: the signal.
            floor: lower bound of the spread, such as the noise of a score.
        """
        size = str(self.row["size"]) if name in _WITHIN_SIZE else None
        place = place_step(self.series(name), self.step, floor=floor)
        return self.in_store(place, self.row[name], self.store.reference(name, size=size), within=size or "")

    def in_store(
        self, place: Placement | None, value: float | None, reference: Reference | None, *, within: str = ""
    ) -> Placement | None:
        """A placement in the run completed by the percentiles in the store.

        Args:
            place: the placement in the run.
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
