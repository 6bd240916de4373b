"""GCWM: merging in the geometry that the updates share, as far as their geometries conflict.

On each layer the active updates are merged twice by WUDI, as they are and whitened by the barycenter of their
covariances, and the two results are blended by a gate that opens with their mean geometry conflict.
Wang et al., arXiv 2605.09608, Sec. 4 and App. B.

D_i, w_i     update of task i on one weight matrix, theta_i - theta_base, (d_out, d_in); its weight
B_i          covariance of D_i in the union basis of all updates, regularised by lambda
G            the metric that the updates share: the barycenter of the B_i, lambda outside the union basis
gamma_ij     geometry conflict of D_i and D_j, in [0, 1]; g its weighted mean over the pairs
alpha        share of the geometric merge, a sigmoid of g
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from geodiag.geometry import Spectrum, cross_gram, pair_geometry, rank_tolerance, spectrum_columns
from geodiag.merging.metric import shared_metric
from geodiag.merging.rules.rule import MergeRule, MergeUpdate, RuleStats
from geodiag.merging.rules.wudi import Wudi, WudiSettings, wudi
from geodiag.runs.yaml_source import Count, FiniteNumber, Positive, Share, StrictSettings


class SpectrumSettings(StrictSettings):
    """Truncation of an update to its geometry."""

    rank: Count = 16
    """the most directions kept of an update, a whole number from 1"""
    energy: Annotated[Share, Field(gt=0)] = 0.9
    """the share of the squared energy to reach, in (0, 1]"""
    lam: Annotated[Positive, Field(alias="lambda")] = 1e-6
    """the regulariser of the covariances, above 0: whitening divides by its root"""
    method: Literal["krylov", "exact"] = "krylov"
    """krylov (a block iteration) or exact (a full SVD in float64)"""


class GateSettings(StrictSettings):
    """The gate alpha(g) = alpha_min + (alpha_max - alpha_min) sigmoid(kappa (g - tau))."""

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
        # alpha(g) = alpha_min + (alpha_max - alpha_min) sigmoid(kappa (g - tau))
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


def mean_conflict(spectrum: Spectrum, weights: Float[Tensor, " m"], *, lam: float) -> float | None:
    """g, the weighted mean conflict of the pairs of updates that have one.

    gamma_ij is taken in the pair's own union basis, as everywhere in geodiag. In that of all updates each trace
    would grow by lambda for each further column; the distance is the same.

    Args:
        spectrum: truncated spectra of m updates.
        weights: w_i.
        lam: the regulariser lambda.

    Returns:
        g in [0, 1], or None where no pair has one.
    """
    i, j = torch.triu_indices(len(weights), len(weights), offset=1)
    C = cross_gram(spectrum.V, spectrum.V)[i, j]
    gamma = pair_geometry(spectrum.s[i], spectrum.s[j], C, lam=lam, tol=rank_tolerance(torch.float32)).conflict
    # g = sum_{i<j} w_i w_j gamma_ij / sum_{i<j} w_i w_j
    w = (weights[i] * weights[j]).to(gamma) * ~gamma.isnan()
    return (w * gamma.nan_to_num()).sum().item() / w.sum().item() if w.sum() > 0 else None


def gcwm(
    updates: Sequence[Tensor],
    spectrum: Spectrum,
    weights: Float[Tensor, " m"],
    *,
    lam: float,
    gate: GateSettings,
    metric: MetricSettings,
    solver: WudiSettings,
) -> tuple[Float[Tensor, "d_out d_in"], RuleStats]:
    """D_merge of one layer's active updates, blended of a plain and a geometric merge.

    D_plain is WUDI on the D_i, D_geo is WUDI on the whitened ones, recolored. With one update both are that
    update. Where no two updates have a geometry there is no conflict to measure, and the gate stays shut.

    Args:
        updates: D_i, not zero.
        spectrum: their truncated spectra.
        weights: w_i, of sum 1.
        lam: the regulariser lambda > 0.
        gate: of the blend.
        metric: of the whitening.
        solver: of both WUDI solutions.
    """
    g = mean_conflict(spectrum, weights, lam=lam)
    share = gate.share(g) if len(updates) > 1 else 0.0
    G, barycenter = shared_metric(
        spectrum, weights, lam=lam, mean=metric.mode == "mean", iterations=metric.iterations, tol=metric.tol
    )
    # D_merge = alpha D_geo + (1 - alpha) D_plain,  D_geo = WUDI(D_1 G^-1/2, ...) G^1/2
    merges: list[Wudi] = []
    update = torch.zeros_like(updates[0])
    if share < 1:
        merges.append(wudi(updates, weights, solver))
        update.add_(merges[-1].update, alpha=1 - share)
    if share > 0:
        merges.append(wudi([G.whiten(D) for D in updates], weights, solver))
        update.add_(G.recolor(merges[-1].update), alpha=share)
    stats = RuleStats(
        conflict=g,
        alpha=gate.alpha(g) if len(updates) > 1 else None,
        share=share if len(updates) > 1 else None,
        union_rank=G.Q.shape[1],
        metric_trace=barycenter.matrix.trace().item(),
        metric_iterations=int(barycenter.iterations),
        metric_residual=barycenter.residual.item(),
        products=sum(merge.products for merge in merges),
        gradient_error=max(merge.gradient_error for merge in merges),
    )
    return update, stats


def joined(spectra: Sequence[Spectrum]) -> Spectrum:
    """Batches of spectra of one width as one batch."""
    names = ("V", "s", "rank", "s_1", "energy_kept")
    return Spectrum(*(torch.cat([getattr(spectrum, name) for spectrum in spectra]) for name in names))


class GcwmRule(MergeRule):
    """Geometry-conflict whitened merging."""

    label: ClassVar[str] = "GCWM"
    reference: ClassVar[str] = "Wang et al., arXiv 2605.09608, Sec. 4 and App. B"
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

    def merge(self, active: Sequence[MergeUpdate], before: Tensor | None) -> tuple[Tensor, RuleStats]:
        """GCWM of the active updates by their weights."""
        del before
        of = self.spectrum
        spectra = [u.spectrum(rank=of.rank, energy=of.energy, lam=of.lam, method=of.method) for u in active]
        weights = torch.tensor([u.weight for u in active], dtype=torch.float64, device=active[0].D.device)
        return gcwm(
            [update.D for update in active],
            joined(spectra),
            weights / weights.sum(),
            lam=of.lam,
            gate=self.gate,
            metric=self.metric,
            solver=self.wudi,
        )

    def flops(self, shape: tuple[int, int], active: Sequence[int], *, experts: int) -> tuple[float, float]:
        """A truncated spectrum an expert, and two WUDI solutions a step, one without a gate."""
        columns = spectrum_columns(shape, rank=self.spectrum.rank, method=self.spectrum.method)
        spectra = experts * 2 * shape[0] * shape[1] * columns
        merges = 2 if self.gate.mode == "conflict" else 1
        solutions = [self.wudi.solution_flops(shape, count) for count in active]
        return (
            spectra + merges * sum(least for least, _ in solutions),
            spectra + merges * sum(most for _, most in solutions),
        )

    def held_numbers(self, shape: tuple[int, int], active: int, *, experts: int) -> int:
        """Those of one WUDI solution; the spectra are small."""
        del experts
        return self.wudi.solution_numbers(shape, active)
