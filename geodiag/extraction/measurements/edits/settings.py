"""Options of the measurement of edits, and the tables it fills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from geodiag.common.schema import BOOL, F64, I32, RUN, STEP, STR, Column, Table, list_of
from geodiag.errors import SettingsError


@dataclass(frozen=True)
class EditOptions:
    """Which steps are edited; how probes are scored is as the losses of the run were."""

    steps: Literal["lossy", "all"] = field(default="lossy", metadata={"option": "edits_steps"})
    """Steps that are edited: those that lost an old task, or all."""
    budget: float | None = field(default=None, metadata={"option": "edits_budget"})
    """Millions of tokens that the edits of a run may take; steps with the smallest losses are left out."""

    def __post_init__(self) -> None:
        rules = (
            (self.steps in ("lossy", "all"), "steps", self.steps, "lossy or all"),
            (self.budget is None or self.budget > 0, "budget", self.budget, "above 0, in millions of tokens"),
        )
        for holds, name, value, right in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}", where="edits", fix=f"it must be {right}")

    def to_config(self) -> dict[str, Any]:
        """The options as the JSON object that a store keeps."""
        return asdict(self)


def _share(name: str, meaning: str) -> Column:
    return Column(name, F64, meaning, "share", nullable=True)


_EDITS = (
    RUN,
    STEP,
    Column("edit", STR, "what is done, such as `scale 0.5` or `revert top 25%`"),
    Column("chosen_for", STR, "all, or the one lost task that a second set was chosen for"),
    Column("half", STR, "choosing or judging"),
    Column("task", STR, "the folded name of the task scored"),
    Column(
        "kind", STR, "scale, family, band, top, harm, random, complement, project, project_random or transplant"
    ),
    Column("groups", list_of(STR), "groups whose change is edited; empty for all"),
    Column("share_of_matrices", F64, "of the target matrices, those it edits", "0..1"),
    Column("squared_share", F64, "of the squared norm of the step, that of the groups it edits", "0..1"),
    Column("loss", F64, "mean cross-entropy after the edited step", ">= 0, nats"),
    Column("p_target", F64, "mean over examples of exp(-cross-entropy)", "0..1"),
    Column("exact", F64, "share of examples answered exactly", "0..1"),
    _share("restored_loss", "of a lost task's rise in loss, what the edit takes back"),
    _share("restored_p", "of a lost task's fall in p_target, what comes back"),
    _share("restored_low", "lower end of the Fieller interval of restored_p, joint over the edits taken"),
    _share("restored_high", "its upper end"),
    _share("restored_exact", "of a lost task's fall in exact answers, what comes back"),
    _share("kept", "of the new task's gain in p_target, what stays; null where it was not learnt"),
    _share("kept_loss", "of the new task's fall in loss, what stays"),
    _share("kept_exact", "of the new task's gain in exact answers, what stays"),
    _share("kept_low", "lower end of the Fieller interval of kept, joint over the edits taken"),
    _share("kept_high", "its upper end"),
    Column(
        "side_worst", F64, "change of p_target over the edited step of the worst task that only it loses; null: none",
        "-1..0", nullable=True,
    ),
    Column("n", I32, "examples of the half", "count"),
)  # fmt: skip

_EDIT_EXAMPLES = (
    RUN,
    STEP,
    Column("edit", STR, "as in `edits`; `before` and `after` are the states of the step"),
    Column("task", STR, "the folded name of the task scored"),
    Column("example", I32, "the example's place in its task", "0.."),
    Column("loss", F64, "mean cross-entropy of the target's tokens", ">= 0, nats"),
    Column("p_target", F64, "exp(-loss)", "0..1"),
    Column("exact", BOOL, "whether every target token is the most probable one"),
)

EDIT_TABLES = (
    Table(
        "edits",
        "one task after one edited step",
        ("run", "step", "edit", "chosen_for", "half", "task"),
        _EDITS,
    ),
    Table(
        "edit_examples",
        "one probe example after one edited step",
        ("run", "step", "edit", "task", "example"),
        _EDIT_EXAMPLES,
    ),
)
