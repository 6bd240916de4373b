"""Options of the allocation of loss changes, and the table it fills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from geodiag.common.schema import BOOL, F32, F64, I32, RUN, STEP, STR, Column, Table, list_of
from geodiag.errors import SettingsError


@dataclass(frozen=True)
class AttributionOptions:
    """How loss changes are allocated; stored with every run that has them."""

    examples: int = field(default=64, metadata={"option": "attribution_examples"})
    """Probe examples of each task over which its loss change is allocated, half of them in each half."""
    max_length: int = field(default=1024, metadata={"option": "attribution_max_length"})
    """Most tokens of an example whose loss change is allocated; longer ones are left out."""
    precision: Literal["auto", "float32", "bfloat16"] = field(
        default="auto", metadata={"option": "attribution_precision"}
    )
    """Precision of the model that is run backward; auto: float32 where it fits the memory budget, else bfloat16."""
    batch_tokens: int = field(default=2048, metadata={"option": "attribution_batch_tokens"})
    """Most tokens of a batch that is run backward, padding included."""

    def __post_init__(self) -> None:
        rules = (
            (self.examples >= 1, "examples", self.examples, "a whole number from 1"),
            (self.max_length >= 2, "max length", self.max_length, "at least 2 tokens"),
            (self.precision in ("auto", "float32", "bfloat16"), "precision", self.precision, "auto, float32, bfloat16"),
            (self.batch_tokens >= 1, "batch tokens", self.batch_tokens, "a whole number from 1"),
        )
        for holds, name, value, right in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}", where="attribution", fix=f"it must be {right}")

    def to_config(self) -> dict[str, Any]:
        """The options as the JSON object that a store keeps."""
        return asdict(self)


_NATS = "nats; positive is worse"

_ATTRIBUTION = (
    RUN,
    STEP,
    Column("task", STR, "the task's folded name"),
    Column("group", STR, "a matrix's canonical name, or the name of a group of other weights"),
    Column("block", I32, "the index of the group's block", "0..", nullable=True),
    Column(
        "family",
        STR,
        "its projection family, or embedding, lm_head, norm, bias, other, router, experts, or routing (what the loss "
        "jumps by where tokens change experts)",
    ),
    Column("allocation", F64, "integral of <grad L, Delta> over the step: the group's part of delta_loss", _NATS),
    Column("allocation_choosing", F64, "allocation over the choosing half of the examples", _NATS, nullable=True),
    Column("allocation_judging", F64, "allocation over the judging half of the examples", _NATS, nullable=True),
    Column("allocation_se", F64, "standard error of the allocation over examples", ">= 0, nats", nullable=True),
    Column("first_order", F64, "<grad L(theta_(t-1)), Delta>", _NATS, nullable=True),
    Column("end_order", F64, "<grad L(theta_t), Delta>", _NATS, nullable=True),
    Column("shared", F64, "allocation of Delta V V', V the task's own input directions", _NATS, nullable=True),
    Column("shared_random", F64, "the same with as many random directions", _NATS, nullable=True),
    Column("step_overlap", F64, "||Delta V||_F^2 / ||Delta||_F^2", "0..1", nullable=True),
    Column("squared_share", F64, "||Delta||_F^2 of the group over that of all groups", "0..1", nullable=True),
    Column("allocation_examples", list_of(F32), "allocation of each example's loss change", "nats", True),
    Column("path_points", I32, "points of the path at which gradients were taken", "3, 5 or 9"),
    Column("residual", F64, "delta_loss less the sum of the allocation over weights", "nats"),
    Column("share_change", F64, "L1 change of the groups' shares at the last refinement", "0..2"),
    Column("converged", BOOL, "whether residual and shares have settled; if not, no group is named"),
)

ATTRIBUTION_TABLES = (
    Table(
        "attribution",
        "one group's part of a task's loss change over one step",
        ("run", "step", "task", "group"),
        _ATTRIBUTION,
    ),
)
