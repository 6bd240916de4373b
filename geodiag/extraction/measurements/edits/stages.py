"""The two stages of a step: all edits on the choosing half, then those taken and their controls on the judging half."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from geodiag.extraction.measurements.edits.catalogue import Edit, complement
from geodiag.extraction.measurements.edits.choosing import (
    CLASSES,
    Candidate,
    EditClass,
    choose,
    class_of,
    edit_sizes,
)
from geodiag.extraction.measurements.edits.controls import SETS, matched_sets
from geodiag.extraction.measurements.edits.judging import Scores, StepScores, scores_of_rows
from geodiag.extraction.measurements.edits.rows import EditRows
from geodiag.extraction.measurements.edits.scoring import (
    PROJECT_OTHERS,
    PROJECT_RANDOM,
    EditScorer,
    example_rows,
)
from geodiag.extraction.measurements.edits.steps import ALL_LOST, EditStep
from geodiag.extraction.measurements.measurement import Row, Rows
from geodiag.models.probes import HALVES, Half, TaskProbes
from geodiag.stats.score_noise import joint_level

BEFORE, AFTER = "before", "after"
"""Names in `edit_examples` of the states of the step."""
_OWN = "own "
"""Before the slots of the set that is chosen for the worst lost task alone."""


def slots(step: EditStep) -> list[str]:
    """The parts of one step in the order in which they are scored.

    Which edit a part of the judging half holds follows from the choosing half; where there is none, it has no rows.
    """
    classes = {class_of(edit) for edit in step.edits}
    judged: list[str] = [kind for kind in CLASSES if kind in classes]
    judged += _set_controls("")
    judged += ["project random", "project others"] if "project" in classes else []
    if step.own_edits:
        judged += [f"{_OWN}set", *_set_controls(_OWN)]
    choosing = [f"choosing: {edit.name}" for edit in (*step.edits, *step.own_edits)]
    return [BEFORE, AFTER, *choosing, *(f"judging: {slot}" for slot in judged)]


def _set_controls(owner: str) -> list[str]:
    return [f"{owner}complement", *(f"{owner}random {n}" for n in range(1, SETS + 1))]


@dataclass
class StepStages:
    """One step's parts, scored as they are asked for."""

    run: str
    step: EditStep
    scorer: EditScorer
    finished: Sequence[Mapping[str, Any]]
    """Rows of `edit_examples` of this step from parts that were finished before a restart."""
    _scored: dict[tuple[str, Half], Scores] = field(default_factory=dict)
    _matched: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for half in HALVES:
            of_half = [row for row in self.finished if self._half(row) == half]
            for edit, scores in scores_of_rows(of_half).items():
                self._scored[edit, half] = scores

    def _half(self, row: Mapping[str, Any]) -> Half:
        return self._probes[row["task"]].examples[row["example"]].half

    @property
    def _probes(self) -> Mapping[str, TaskProbes]:
        return self.scorer.probes

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[str, Rows]]:
        """Each slot with its rows.

        Args:
            wanted: some of `slots`, in their order.
        """
        for slot in wanted:
            stage, _, name = slot.partition(": ")
            if stage in (BEFORE, AFTER):
                yield slot, self._state_rows(stage)
            elif stage == "choosing":
                yield slot, self._edit_rows(self._by_name[name], "choosing", self._chosen_for(name))
            else:
                edit = self._judged(name)
                chosen_for = self.step.lost[0] if name.startswith(_OWN) else ALL_LOST
                yield slot, NO_ROWS if edit is None else self._edit_rows(edit, "judging", chosen_for)

    def _state_rows(self, name: str) -> Rows:
        rows: list[Row] = []
        for half in HALVES:
            rows += example_rows(self.step.step, name, half, self._state(name, half), self._probes)
        return {"edits": [], "edit_examples": rows}

    def _edit_rows(self, edit: Edit, half: Half, chosen_for: str) -> Rows:
        candidate = self._candidate(edit, half)
        level = joint_level(self._taken_count) if half == "judging" else None
        rows = EditRows(self.step.step, half, self._step_scores(half), level)
        examples = example_rows(self.step.step, edit.name, half, candidate.scores, self._probes)
        return {"edits": list(rows.of(candidate, chosen_for=chosen_for)), "edit_examples": list(examples)}

    def _state(self, name: str, half: Half) -> Scores:
        if (name, half) not in self._scored:
            self._scored[name, half] = self.scorer.before(half) if name == BEFORE else self.scorer.at_end(half)
        return self._scored[name, half]

    def _step_scores(self, half: Half) -> StepScores:
        return StepScores(self._state(BEFORE, half), self._state(AFTER, half), self.step.lost, self.step.new)

    def _candidate(self, edit: Edit, half: Half) -> Candidate:
        if (edit.name, half) not in self._scored:
            self._scored[edit.name, half] = self.scorer.score(edit, half)
        matrices = [group.name for group in self.step.matrices]
        return Candidate(edit, *edit_sizes(edit, self.step.squared, matrices), self._scored[edit.name, half])

    @cached_property
    def _by_name(self) -> dict[str, Edit]:
        return {edit.name: edit for edit in (*self.step.edits, *self.step.own_edits)}

    def _chosen_for(self, name: str) -> str:
        return self.step.lost[0] if name in {edit.name for edit in self.step.own_edits} else ALL_LOST

    @cached_property
    def _taken(self) -> dict[EditClass, Edit]:
        """The edits taken to the judging half."""
        scores = self._step_scores("choosing")
        candidates = [self._candidate(edit, "choosing") for edit in self.step.edits]
        chosen = choose(candidates, scores, learnt=scores.learnt())
        return {kind: candidate.edit for kind, candidate in chosen.items()}

    @cached_property
    def _own_set(self) -> Edit | None:
        """The set taken for the worst lost task alone; None where it is the other one."""
        if not self.step.own_edits:
            return None
        scores = self._step_scores("choosing").of(self.step.lost[:1])
        candidates = [self._candidate(edit, "choosing") for edit in (*self.step.edits, *self.step.own_edits)]
        own = choose(candidates, scores, learnt=scores.learnt())["set"].edit
        return None if set(own.groups) == set(self._taken["set"].groups) else own

    @property
    def _taken_count(self) -> int:
        return len(self._taken) + (self._own_set is not None)

    def _judged(self, slot: str) -> Edit | None:
        """The edit that a slot of the judging half holds."""
        own = slot.startswith(_OWN)
        chosen, name = (self._own_set, slot.removeprefix(_OWN)) if own else (self._taken.get("set"), slot)
        if name in CLASSES:
            return chosen if own else self._taken.get(name)
        if name.startswith("project"):
            return self._project_control(name)
        if chosen is None:
            return None
        if name == "complement":
            return complement(chosen, self.step.groups, name=f"complement of {chosen.name}")
        n = int(name.split()[-1])
        return Edit(f"random {n} as {chosen.name}", "random", self._controls(chosen)[n - 1])

    def _project_control(self, slot: str) -> Edit | None:
        if slot == "project random":
            return Edit(PROJECT_RANDOM, "project_random")
        return Edit(PROJECT_OTHERS, "project_random") if self.scorer.has_others else None

    def _controls(self, chosen: Edit) -> list[tuple[str, ...]]:
        if chosen.name not in self._matched:
            names = (self.run, str(self.step.step), *self.step.lost, chosen.name)
            sets = matched_sets(chosen.groups, self.step.matrices, self.step.squared, names=names)
            self._matched[chosen.name] = sets
        return self._matched[chosen.name]


NO_ROWS: Rows = {"edits": [], "edit_examples": []}
"""Of a slot without an edit."""
