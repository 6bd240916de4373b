"""What a merge may be told: every setting with its default, its range and its meaning."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _number(value: object) -> object:
    """YAML reads 1e-6, without a point, as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise PydanticCustomError("value", "no number") from None
    return value


FiniteNumber = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_number)]
Positive = Annotated[FiniteNumber, Field(gt=0)]
NotNegative = Annotated[FiniteNumber, Field(ge=0)]
Share = Annotated[FiniteNumber, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class StrictSettings(BaseModel):
    """Unknown keys are errors, values never change. The text under a field is what an error says would be right."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class WudiSettings(StrictSettings):
    """How WUDI is solved."""

    solver: Literal["adam", "exact"] = "adam"
    """adam (iterations from the sum of the updates) or exact (the normal equations)"""
    lr: Positive = 1e-5
    """Adam's learning rate, in units of the updates' entries, above 0"""
    iterations: Count = 100
    """Adam's iterations, a whole number from 1"""
    tolerance: Share = 0.005
    """how far Adam's gradient may be off, as a share of its running root mean square; 0 multiplies it out always"""
    ridge: NotNegative = 1e-5
    """what `exact` adds to the eigenvalues of H, whose sum is that of the weights; 0 is the pseudo-inverse"""
    ridge_to: Literal["start", "zero"] = "start"
    """start (the ridge pulls to the sum of the updates, from which Adam starts) or zero (to no update at all)"""


class SpectrumSettings(StrictSettings):
    """How much of an update is its geometry."""

    rank: Count = 16
    """the most directions kept of an update, a whole number from 1"""
    energy: Annotated[Share, Field(gt=0)] = 0.9
    """the share of the squared energy to reach, in (0, 1]"""
    lam: Annotated[Positive, Field(alias="lambda")] = 1e-6
    """the regulariser of the covariances, above 0: whitening divides by its root"""
    method: Literal["krylov", "exact"] = "krylov"
    """krylov (a block iteration) or exact (a full SVD in float64)"""


class GateSettings(StrictSettings):
    """alpha(g) = alpha_min + (alpha_max - alpha_min) sigmoid(kappa (g - tau)), the share of the geometric merge."""

    mode: Literal["conflict", "none"] = "conflict"
    """conflict (by the formula) or none (alpha = 1, the geometric merge alone)"""
    alpha_min: Share = 0.15
    """alpha far below tau, in [0, 1]"""
    alpha_max: Share = 0.95
    """alpha far above tau, in [0, 1]"""
    tau: FiniteNumber = 0.12
    """the conflict at which alpha is half way"""
    kappa: Positive = 12.0
    """how steeply alpha rises there, above 0"""
    skip: Annotated[FiniteNumber, Field(ge=0, lt=0.5)] = 0.05
    """with alpha at most this the plain merge stands alone, from 1 less this on the geometric one; in [0, 0.5)"""

    def alpha(self, g: float | None) -> float | None:
        """The share of the geometric merge at conflict g; None where the gate needs a conflict and has none."""
        if self.mode == "none":
            return 1.0
        if g is None:
            return None
        return self.alpha_min + (self.alpha_max - self.alpha_min) * _sigmoid(self.kappa * (g - self.tau))

    def share(self, g: float | None) -> float:
        """`alpha`, made 0 or 1 where it is that near; 0 where there is none."""
        alpha = self.alpha(g)
        return 0.0 if alpha is None or alpha <= self.skip else 1.0 if alpha >= 1 - self.skip else alpha


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))  # neither branch overflows


class MetricSettings(StrictSettings):
    """The metric in which updates are whitened."""

    mode: Literal["barycenter", "mean"] = "barycenter"
    """barycenter or mean, of the updates' covariances"""
    iterations: Count = 50
    """the barycenter's most fixed-point steps, a whole number from 1"""
    tol: Positive = 1e-5
    """the residual at which they stop, above 0"""


class GcwmRule(StrictSettings):
    """Geometry-conflict whitened merging."""

    label: ClassVar[str] = "GCWM"
    default_eta: ClassVar[float] = 0.1
    name: Literal["gcwm"] = "gcwm"
    spectrum: SpectrumSettings = SpectrumSettings()
    """a group of keys: rank, energy, lambda, method"""
    gate: GateSettings = GateSettings()
    """a group of keys: mode, alpha_min, alpha_max, tau, kappa, skip"""
    metric: MetricSettings = MetricSettings()
    """a group of keys: mode, iterations, tol"""
    wudi: WudiSettings = WudiSettings()
    """a group of keys: solver, lr, iterations, tolerance, ridge, ridge_to"""


class WudiRule(WudiSettings):
    """WUDI on the updates as they are."""

    label: ClassVar[str] = "WUDI"
    default_eta: ClassVar[float] = 1.0
    name: Literal["wudi"] = "wudi"
    iterations: Count = 300
    """Adam's iterations, a whole number from 1"""


class TaskArithmeticRule(StrictSettings):
    """The scaled sum of the updates."""

    label: ClassVar[str] = "Task arithmetic"
    default_eta: ClassVar[float] = 1.0
    name: Literal["task_arithmetic"] = "task_arithmetic"
    scale: FiniteNumber = 0.3
    """multiplies the sum"""


class TiesRule(StrictSettings):
    """Trim, elect a sign, merge."""

    label: ClassVar[str] = "TIES"
    default_eta: ClassVar[float] = 1.0
    name: Literal["ties"] = "ties"
    keep: Annotated[Share, Field(gt=0)] = 0.2
    """the share of each update's entries kept, in (0, 1]"""
    scale: FiniteNumber = 1.0
    """multiplies the result"""


class OpcmRule(StrictSettings):
    """Orthogonal projection-based continual merging; its scale is one number for the whole model."""

    label: ClassVar[str] = "OPCM"
    default_eta: ClassVar[float] = 1.0
    name: Literal["opcm"] = "opcm"
    threshold: Annotated[FiniteNumber, Field(ge=0, lt=1)] = 0.5
    """the share of the singular values' sum that is projected out, in [0, 1)"""


RULES = (GcwmRule, WudiRule, TaskArithmeticRule, TiesRule, OpcmRule)
"""Every merging rule; its `name` is what a configuration says."""
Rule = GcwmRule | WudiRule | TaskArithmeticRule | TiesRule | OpcmRule
