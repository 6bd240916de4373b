"""Each merging rule on one layer's active updates, behind one signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.geometry import Spectrum, frobenius_norm, right_spectrum
from geodiag.merging.baselines import opcm_projection, task_arithmetic, ties
from geodiag.merging.gcwm import GateStats, gcwm
from geodiag.merging.settings import GcwmRule, OpcmRule, Rule, SpectrumSettings, TaskArithmeticRule, TiesRule, WudiRule
from geodiag.merging.wudi import wudi


@dataclass
class MergeUpdate:
    """One update of a layer, with what has been found out about it."""

    D: Float[Tensor, "d_out d_in"]
    """theta - theta_base."""
    weight: float
    """Its weight among the active updates."""
    _spectrum: Spectrum | None = None

    def spectrum(self, settings: SpectrumSettings) -> Spectrum:
        """Its truncated spectrum, a batch of one, computed once."""
        if self._spectrum is None:
            self._spectrum = right_spectrum(
                self.D[None],
                frobenius_norm(self.D)[None],
                rank=settings.rank,
                energy=settings.energy,
                lam=settings.lam,
                method=settings.method,
            )
        return self._spectrum


Merge = Callable[[Sequence[MergeUpdate], Tensor | None, Any], tuple[Tensor, GateStats]]
"""(active updates that are not zero, the merge of the step before, the rule's settings) -> D_merge."""


def _gcwm(active: Sequence[MergeUpdate], _before: Tensor | None, rule: GcwmRule) -> tuple[Tensor, GateStats]:
    spectra = [update.spectrum(rule.spectrum) for update in active]
    weights = torch.tensor([update.weight for update in active], dtype=torch.float64, device=active[0].D.device)
    return gcwm(
        [update.D for update in active],
        joined(spectra),
        weights / weights.sum(),
        lam=rule.spectrum.lam,
        gate=rule.gate,
        metric=rule.metric,
        solver=rule.wudi,
    )


def _wudi(active: Sequence[MergeUpdate], _before: Tensor | None, rule: WudiRule) -> tuple[Tensor, GateStats]:
    weights = torch.tensor([update.weight for update in active], dtype=torch.float64)
    found = wudi([update.D for update in active], weights, rule)
    return found.update, GateStats(products=found.products, gradient_error=found.gradient_error)


def _task_arithmetic(
    active: Sequence[MergeUpdate], _before: Tensor | None, rule: TaskArithmeticRule
) -> tuple[Tensor, GateStats]:
    return task_arithmetic([update.D for update in active], scale=rule.scale), GateStats()


def _ties(active: Sequence[MergeUpdate], _before: Tensor | None, rule: TiesRule) -> tuple[Tensor, GateStats]:
    return ties([update.D for update in active], keep=rule.keep, scale=rule.scale), GateStats()


def _opcm(active: Sequence[MergeUpdate], before: Tensor | None, rule: OpcmRule) -> tuple[Tensor, GateStats]:
    """lambda_t M_t = lambda_(t-1) M_(t-1) + P(D_t). P does not depend on the scale, so that stays for the end."""
    new = active[-1].D
    if before is None:
        return new.clone(), GateStats()
    return before + opcm_projection(new, before, threshold=rule.threshold), GateStats()


MERGES: dict[str, Merge] = {
    "gcwm": _gcwm,
    "wudi": _wudi,
    "task_arithmetic": _task_arithmetic,
    "ties": _ties,
    "opcm": _opcm,
}
"""The function of each rule, by its name."""


def merge_active(
    active: Sequence[MergeUpdate], before: Tensor | None, rule: Rule
) -> tuple[Float[Tensor, "d_out d_in"], GateStats]:
    """D_merge of one layer at one step.

    Args:
        active: the updates that are not zero.
        before: D_merge of the step before; None at the first.
        rule: which rule, and its settings.
    """
    return MERGES[rule.name](active, before, rule)


def joined(spectra: Sequence[Spectrum]) -> Spectrum:
    """Batches of spectra of one width as one batch."""
    names = ("V", "s", "rank", "s_1", "energy_kept")
    return Spectrum(*(torch.cat([getattr(spectrum, name) for spectrum in spectra]) for name in names))
