"""WUDI: the merged update that interferes least with each update's own inputs.

D_i          update of task i on one weight matrix, theta_i - theta_base, (d_out, d_in)
w_i, c_i     its weight, and w_i / ||D_i||_F^2
M            the merged update; X = M - sum_i D_i is how far it has moved from where it starts
H, R         sum_i c_i D_i'D_i (d_in, d_in), and sum_i c_i D_i D_i'D_i
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from geodiag.merging.products import (
    KEPT,
    PATH_DIRECTIONS,
    SKETCH_COLUMNS,
    PathProduct,
    coefficients,
    half_gradient,
    input_gram,
)
from geodiag.merging.rules.rule import MergeRule, MergeUpdate, RuleStats
from geodiag.runs.yaml_source import Count, NotNegative, Positive, Share, StrictSettings

_BETA_2 = 0.999
"""Adam's decay of squared gradients."""


class WudiSettings(StrictSettings):
    """Solver of WUDI."""

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

    def predicts(self, d_in: int) -> bool:
        """Whether Adam's products are predicted: where they are small, they are not what takes the time."""
        return self.tolerance > 0 and d_in >= 8 * PATH_DIRECTIONS

    def solution_flops(self, shape: tuple[int, int], active: int) -> tuple[float, float]:
        """The least and the most operations of one solution: the gradient at the start, H, and the iterations.

        They differ in how many products can be predicted, which the updates decide. One update takes none.
        """
        entry, d_in = 2 * shape[0] * shape[1], shape[1]
        if active < 2:
            return 0.0, 0.0
        start = active * 2 * entry * min(shape)
        gram = active * entry * d_in * 10 / 16
        full = start + gram + self.iterations * entry * d_in
        if self.solver == "exact":
            return (exact := start + gram + d_in**3 / 3 + entry * d_in), exact
        if not self.predicts(d_in):
            return full, full
        top = active * 10 * entry * (PATH_DIRECTIONS + SKETCH_COLUMNS)
        predicted = self.iterations * entry * (2 * PATH_DIRECTIONS + SKETCH_COLUMNS)
        return start + top + predicted, full + top + predicted

    def solution_numbers(self, shape: tuple[int, int], active: int) -> int:
        """Numbers that a solution of several updates holds beside them: products kept, Adam's state, H and T."""
        return (active + 3 + KEPT) * shape[0] * shape[1] + 2 * shape[1] ** 2 if active > 1 else 0


@dataclass(frozen=True)
class Wudi:
    """A merged update, and the products and accuracy of the iterations that reached it."""

    update: Float[Tensor, "d_out d_in"]
    """M."""
    products: int
    """Products of a d_out x d_in with a d_in x d_in matrix that the iterations took, of one each at most."""
    gradient_error: float
    """The largest measured error of a gradient, as a share of their running root mean square; 0 if multiplied out."""


def wudi(updates: Sequence[Tensor], weights: Float[Tensor, " m"], settings: WudiSettings) -> Wudi:
    """Minimises sum_i c_i ||(M - D_i) D_i'||_F^2 over M (Cheng et al., ICML 2025), from M = sum_i D_i.

    The rows of D_i span the inputs that task i has learnt to respond to; the objective is small where M responds
    to them as D_i does. A zero update takes no part. With one update M is that update.

    Adam runs as torch's does. Its gradient 2 (M H - R) takes one product an iteration instead of the definition's
    2m, and with a tolerance that product is taken only where `PathProduct` cannot tell it from earlier ones.

    The exact minimum is not what Adam's few hundred iterations reach, and makes worse merges: H has
    eigenvalues near zero, along which the minimum lies far away and the iterations stay at the start. It is there
    for comparison, and for updates of low rank; with a ridge it filters as the iterations do.

    Args:
        updates: D_i (d_out, d_in), of one floating type, float32 or float64.
        weights: w_i >= 0.
        settings: how.
    """
    start = sum(updates[1:], updates[0])
    c = coefficients(updates, weights)
    updates, c = [D for D, c_i in zip(updates, c, strict=True) if c_i], [c_i for c_i in c if c_i]
    if len(updates) < 2:
        return Wudi(start.clone(), 0, 0.0)
    if settings.solver == "exact":
        return Wudi(_solve(start, updates, c, settings), 0, 0.0)
    return _descend(start, updates, [2 * c_i for c_i in c], settings)


Gradient = Callable[[Tensor, float, Tensor], float]
"""(X, allowed error, out): writes the gradient at start + X to out, and returns its error."""


def _descend(start: Tensor, updates: Sequence[Tensor], c: Sequence[float], settings: WudiSettings) -> Wudi:
    """Adam on the way X = M - start: with c doubled the gradient is slope + X H, the slope that at the start."""
    slope = half_gradient(start, updates, c)
    if not settings.predicts(start.shape[1]):
        H = input_gram(updates, c)

        def full(X: Tensor, _: float, out: Tensor) -> float:
            # gradient = 2 (M H - R) = slope + X H, with c doubled
            torch.addmm(slope, X, H, out=out)
            return 0.0

        X, _ = _adam(slope, full, settings)
        return Wudi(X.add_(start), settings.iterations, 0.0)
    path = PathProduct(updates, c)
    X, error = _adam(slope, lambda X, allowed, out: path.add_to(slope, X, allowed=allowed, out=out), settings)
    return Wudi(X.add_(start), path.products, error)


def _adam(slope: Tensor, gradient: Gradient, settings: WudiSettings) -> tuple[Tensor, float]:
    """Where torch's Adam gets to from X = 0, and the largest relative error of a gradient on the way."""
    X = torch.zeros_like(slope)
    X.grad = torch.empty_like(slope)
    optimizer = torch.optim.Adam([X], lr=settings.lr, betas=(0.9, _BETA_2), fused=True)
    size = slope.norm().item()
    mean_square, worst = 0.0, 0.0
    for t in range(1, settings.iterations + 1):
        error = gradient(X, settings.tolerance * size, X.grad)
        # Adam divides by the root of this mean, so it is what an error is large or small against.
        mean_square = _BETA_2 * mean_square + (1 - _BETA_2) * X.grad.norm().item() ** 2
        size = (mean_square / (1 - _BETA_2**t)) ** 0.5
        worst = max(worst, error / size if error else 0.0)
        optimizer.step()
    return X, worst


def _solve(start: Tensor, updates: Sequence[Tensor], c: Sequence[float], settings: WudiSettings) -> Tensor:
    """M = start - (start H - R) F(H) in float64, F(h) = 1 / (h + ridge) on the eigenvalues of H.

    Along eigenvectors of h far above the ridge M is the minimum; far below it M stays at the start, or vanishes
    where the ridge pulls to zero.
    """
    updates, dtype = [D.double() for D in updates], start.dtype
    start = start.double()
    slope, H = half_gradient(start, updates, c), input_gram(updates, c)
    if settings.ridge == 0:
        # M = start - (start H - R) H^+
        return (start - slope @ torch.linalg.pinv(H, hermitian=True)).to(dtype)
    if settings.ridge_to == "zero":
        slope += settings.ridge * start
    H.diagonal().add_(settings.ridge)
    # (start H - R) (H + ridge I)^-1
    step = torch.cholesky_solve(slope.mT, torch.linalg.cholesky(H)).mT
    return (start - step).to(dtype)


class WudiRule(WudiSettings, MergeRule):
    """WUDI on the updates as they are."""

    label: ClassVar[str] = "WUDI"
    reference: ClassVar[str] = "Cheng et al., ICML 2025"
    name: Literal["wudi"] = "wudi"
    iterations: Count = 300
    """Adam's iterations, a whole number from 1"""

    def merge(self, active: Sequence[MergeUpdate], before: Tensor | None) -> tuple[Tensor, RuleStats]:
        """WUDI of the active updates by their weights."""
        del before
        weights = torch.tensor([update.weight for update in active], dtype=torch.float64)
        merged = wudi([update.D for update in active], weights, self)
        return merged.update, RuleStats(products=merged.products, gradient_error=merged.gradient_error)

    def flops(self, shape: tuple[int, int], active: Sequence[int], *, experts: int) -> tuple[float, float]:
        """One solution a step."""
        del experts
        solutions = [self.solution_flops(shape, count) for count in active]
        return sum(least for least, _ in solutions), sum(most for _, most in solutions)

    def held_numbers(self, shape: tuple[int, int], active: int, *, experts: int) -> int:
        """Those of one solution."""
        del experts
        return self.solution_numbers(shape, active)
