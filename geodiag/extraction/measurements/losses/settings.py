"""Options of the measurement of losses, and the tables it fills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from geodiag.common.schema import BOOL, F64, I32, I64, RUN, STR, Column, Table
from geodiag.errors import SettingsError


@dataclass(frozen=True)
class LossOptions:
    """How probes become losses; stored with every run that has them."""

    examples: int = field(default=64, metadata={"option": "loss_examples"})
    """Probe examples of each task, half to choose edits by and half to judge them by."""
    max_length: int = field(default=1024, metadata={"option": "loss_max_length"})
    """Most tokens of an example; longer ones are left out."""
    precision: Literal["auto", "float32", "bfloat16"] = field(default="auto", metadata={"option": "loss_precision"})
    """Precision the model computes in; auto: float32 where it fits the memory budget, else bfloat16."""
    batch_tokens: int = field(default=2048, metadata={"option": "loss_batch_tokens"})
    """Most tokens of a batch, padding included."""

    def __post_init__(self) -> None:
        rules = (
            (self.examples >= 1, "examples", self.examples, "a whole number from 1"),
            (self.max_length >= 2, "max length", self.max_length, "at least 2 tokens"),
            (self.precision in ("auto", "float32", "bfloat16"), "precision", self.precision, "auto, float32, bfloat16"),
            (self.batch_tokens >= 1, "batch tokens", self.batch_tokens, "a whole number from 1"),
        )
        for holds, name, value, right in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}", where="losses", fix=f"it must be {right}")

    def to_config(self) -> dict[str, Any]:
        """The options as the JSON object that a store keeps."""
        return asdict(self)


STATE = Column("step", I32, "the state: 0 is the base, t the one after step t", "0..T")
TASK = Column("task", STR, "the task's folded name")

_NATS, _SHARE = ">= 0, nats", "0..1"

_LOSSES = (
    RUN,
    STATE,
    TASK,
    Column("loss", F64, "mean over examples of the mean cross-entropy of the target's tokens", _NATS),
    Column("loss_se", F64, "its standard error over examples", ">= 0", nullable=True),
    Column("loss_end", F64, "the loss of the turn's end alone", _NATS, nullable=True),
    Column("p_target", F64, "mean over examples of exp(-cross-entropy)", _SHARE),
    Column("exact", F64, "share of examples whose every target token is the most probable one", _SHARE),
    Column("token_accuracy", F64, "mean share of target tokens that are the most probable ones", _SHARE),
    Column("entropy", F64, "mean entropy of the predictions of target tokens", _NATS),
    Column("delta_loss", F64, "loss less that of the state before; positive is worse", "nats", nullable=True),
    Column("delta_loss_se", F64, "its standard error, paired by example", ">= 0", nullable=True),
    Column("precision_floor", F64, "smallest |delta_loss| that bfloat16 can show; 0 in float32", _NATS),
    Column("kl_prev_fwd", F64, "KL(state before || this state) of predictions", _NATS, nullable=True),
    Column("kl_prev_rev", F64, "KL(this state || state before)", _NATS, nullable=True),
    Column("kl_base_fwd", F64, "KL(base || this state)", _NATS, nullable=True),
    Column("kl_base_rev", F64, "KL(this state || base)", _NATS, nullable=True),
    Column("bc_prev", F64, "Bhattacharyya coefficient with the state before", _SHARE, nullable=True),
    Column("bc_base", F64, "Bhattacharyya coefficient with the base", _SHARE, nullable=True),
    Column("n_examples", I32, "examples", "count"),
    Column("n_tokens", I64, "target tokens of all examples", "count"),
    Column("n_cut", I32, "examples left out because they are too long", "count"),
    Column("note", STR, "why a value is null, or what it rests on", nullable=True),
    Column("path_points", I32, "points of the path over which the loss change was allocated", "count", nullable=True),
    Column("residual", F64, "delta_loss less the sum of the allocation", "nats", nullable=True),
    Column("share_change", F64, "L1 change of the allocation's shares at the last refinement", "0..2", nullable=True),
    Column("converged", BOOL, "whether the allocation converged", nullable=True),
)

_EXAMPLES = (
    RUN,
    STATE,
    TASK,
    Column("example", I32, "the example's place in its task", "0.."),
    Column("probe_hash", STR, "16 digits of the sha256 of task, prompt and target"),
    Column("half", STR, "choosing or judging"),
    Column("loss", F64, "mean cross-entropy of the target's tokens", _NATS),
    Column("p_target", F64, "exp(-loss)", _SHARE),
    Column("exact", BOOL, "whether every target token is the most probable one"),
)

LOSS_TABLES = (
    Table("losses", "one task's probes at one state", ("run", "step", "task"), _LOSSES),
    Table("examples", "one probe example at one state", ("run", "step", "task", "example"), _EXAMPLES),
)
