"""Interface of a merging rule: its settings, its merge of one layer, its citation, and what it costs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import Spectrum, frobenius_norm, right_spectrum
from geodiag.runs.yaml_source import StrictSettings


@dataclass
class MergeUpdate:
    """One update of a layer, with its spectrum once that has been computed."""

    D: Float[Tensor, "d_out d_in"]
    """theta - theta_base."""
    weight: float
    """Its weight among the active updates."""
    _spectrum: Spectrum | None = None

    def spectrum(self, *, rank: int, energy: float, lam: float, method: str) -> Spectrum:
        """The truncated spectrum, a batch of one, computed once: every call has to give the same arguments."""
        if self._spectrum is None:
            norm = frobenius_norm(self.D)[None]
            self._spectrum = right_spectrum(self.D[None], norm, rank=rank, energy=energy, lam=lam, method=method)
        return self._spectrum


@dataclass(frozen=True)
class RuleStats:
    """Diagnostics of a rule on one layer; None where they do not apply."""

    conflict: float | None = None
    """g, the weighted mean conflict of the pairs; None with less than two updates that have a geometry."""
    alpha: float | None = None
    """The share of the geometric merge by the gate's formula."""
    share: float | None = None
    """The share that it had: alpha, made 0 or 1 where it is that near."""
    union_rank: int | None = None
    """Columns of the union basis."""
    metric_trace: float | None = None
    """Trace of the metric in the union basis."""
    metric_iterations: int | None = None
    """Fixed-point steps of the barycenter."""
    metric_residual: float | None = None
    """Its residual after them; it has converged where this is at most the tolerance."""
    products: int | None = None
    """Matrix products of WUDI's iterations, both merges together."""
    gradient_error: float | None = None
    """The larger of both merges' gradient errors."""


class MergeRule(StrictSettings):
    """A merging rule with its settings, the keys of its group in a configuration.

    A rule is one subclass, in a file of its own, and one entry of `RULES`; it gives `name` a default, which is how
    configurations name the rule.
    """

    label: ClassVar[str]
    """The method's label in tables and figures."""
    reference: ClassVar[str]
    """The publication that the rule follows."""
    default_eta: ClassVar[float] = 1.0
    """The share of each change of the merge that a step takes, unless a configuration gives one."""
    recursive: ClassVar[bool] = False
    """Whether the newest update is merged into the merge of the step before, instead of with all active updates."""
    scaled: ClassVar[bool] = False
    """Whether the whole model has one scale, `model_scale`, in place of eta."""

    name: str

    @abstractmethod
    def merge(
        self, active: Sequence[MergeUpdate], before: Float[Tensor, "d_out d_in"] | None
    ) -> tuple[Float[Tensor, "d_out d_in"], RuleStats]:
        """D_merge of one layer at one step.

        Args:
            active: the active updates that are not zero, the newest last; of a recursive rule that one alone.
            before: D_merge of the step before, for a recursive rule; None at the first step.
        """

    def model_scale(self, new_norms: Sequence[float], state_norm: float) -> float:
        """The scale of a state of the whole model, where the rule is `scaled`.

        Args:
            new_norms: ||D_s||_F over all layers of each step s = 1 .. t.
            state_norm: ||D_merge,t||_F over all layers, before scaling.
        """
        del new_norms, state_norm
        return 1.0

    def flops(self, shape: tuple[int, int], active: Sequence[int], *, experts: int) -> tuple[float, float]:
        """The least and the most floating-point operations of the large products on one layer.

        Args:
            shape: (d_out, d_in).
            active: how many updates each step merges.
            experts: how many updates are read.
        """
        del shape, active, experts
        return 0.0, 0.0

    def held_numbers(self, shape: tuple[int, int], active: int, *, experts: int) -> int:
        """Numbers in memory at once beside the active updates and four matrices of their shape.

        Args:
            shape: (d_out, d_in).
            active: how many updates the last step merges.
            experts: how many updates are read.
        """
        del shape, active, experts
        return 0
