"""Options of the gradient measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

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
