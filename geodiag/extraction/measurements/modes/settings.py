"""Options of the measurement of modes, of which there are none, and the table it fills."""

from __future__ import annotations

from dataclasses import dataclass

from geodiag.common.schema import F64, RUN, STEP, STR, Column, Table


@dataclass(frozen=True)
class ModeOptions:
    """Nothing to choose: probes are those of the losses of the run."""


_NATS, _SHARE = ">= 0, nats", "0..1"

_MODES = (
    RUN,
    STEP,
    Column("task", STR, "the folded name of an old task"),
    Column(
        "beta", F64, "weight of the state before in the mixture; null where it is not defined", _SHARE, nullable=True
    ),
    Column("beta_se", F64, "its jackknife standard error over examples", ">= 0", nullable=True),
    Column("beta_first", F64, "beta fitted at the first position alone", _SHARE, nullable=True),
    Column("explained", F64, "1 - residual_kl / kl_old", "<= 1", nullable=True),
    Column("residual_kl", F64, "mean over positions of KL(state after || mixture)", _NATS, nullable=True),
    Column("kl_old", F64, "mean over positions of KL(state after || state before)", _NATS, nullable=True),
    Column(
        "bc_old_new", F64, "mean Bhattacharyya coefficient of the state before and base + D_new", _SHARE, nullable=True
    ),
    Column("status", STR, "mass, drift or mixed; else why beta is null"),
)

MODE_TABLES = (
    Table("modes", "one old task over one step, as a mixture of two models", ("run", "step", "task"), _MODES),
)
