"""Options of the gradient measurement, and the table it fills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from geodiag.common.schema import BLOCK, F64, FAMILY, LAYER, RUN, STEP, STR, Column, Table
from geodiag.errors import SettingsError


@dataclass(frozen=True)
class GradientOptions:
    """How probes become gradients; stored with every run that has them."""

    probes_per_task: int | None = 32
    """Probe examples drawn of each task; None in Python takes all."""
    seed: int = field(default=0, metadata={"option": "probe_seed"})
    """The draw of the probes."""
    max_length: int = 1024
    """The most tokens of an example; a longer one loses the start of its prompt, never its target."""
    chat_template: bool = False
    """Whether prompts are wrapped as a user's message by the tokenizer's chat template."""
    precision: Literal["float32", "bfloat16"] = field(default="float32", metadata={"option": "gradient_precision"})
    """What the model computes in. Gradients add up in float32 either way; bfloat16 halves the model's memory
    and rounds each micro-batch's gradient to 8 bits."""

    def __post_init__(self) -> None:
        some = self.probes_per_task
        rules = (
            (some is None or some >= 1, "probes per task", some, "a whole number from 1, or None for all"),
            (self.max_length >= 2, "max length", self.max_length, "at least 2 tokens"),
            (self.precision in ("float32", "bfloat16"), "precision", self.precision, "float32 or bfloat16"),
        )
        for holds, name, value, right in rules:
            if not holds:
                raise SettingsError(f"{name} is {value}", where="gradients", fix=f"it must be {right}")

    def to_config(self) -> dict[str, Any]:
        """The options as the JSON object that a store keeps."""
        return asdict(self)


_GRADIENTS = (
    RUN,
    STEP,
    LAYER,
    Column("task_i", STR, "the folded name of one active task"),
    Column("task_j", STR, "the folded name of another active task"),
    BLOCK,
    FAMILY,
    Column("cos", F64, "<g_i, g_j> / (||g_i|| ||g_j||) at theta_t", "-1..1", nullable=True),
    Column("dot", F64, "<g_i, g_j>", nullable=True),
    Column("norm_i", F64, "||g_i||_F", ">= 0", nullable=True),
    Column("norm_j", F64, "||g_j||_F", ">= 0", nullable=True),
    Column("reliability_i", F64, "how far g_i repeats between halves of its probes", "-1..1", nullable=True),
    Column("reliability_j", F64, "how far g_j repeats between halves of its probes", "-1..1", nullable=True),
)

GRADIENT_TABLES = (
    Table(
        "gradients",
        "two tasks' probe gradients compared in one layer at one state",
        ("run", "step", "layer", "task_i", "task_j"),
        _GRADIENTS,
    ),
)
