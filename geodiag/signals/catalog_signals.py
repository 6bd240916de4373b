"""Catalogue entries of the signals of steps and pairs: column, label, kind, range, reading, meaning, caveat."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

SignalKind = Literal["norm", "geometry", "gradient", "baseline", "outcome", "health"]


@dataclass(frozen=True)
class Signal:
    """A column of steps, families, layers, pairs or runs."""

    name: str
    """The column's name."""
    label: str
    """Its name wherever people read it; see `geodiag.signals.catalog`."""
    kind: SignalKind
    """Its source: norms, geometry, probe gradients, a baseline such as the step index, scores, or checks."""
    low: float
    """Its smallest possible value."""
    high: float
    """Its largest possible value."""
    reading: str
    """Its direction: the meaning of a larger or smaller value."""
    meaning: str
    """Its definition in one sentence."""
    caveat: str = ""
    """When it misleads, in one sentence; empty where it does not."""


UPDATE_NORM = Signal(
    "update_norm",
    "Update norm",
    "norm",
    0,
    inf,
    "larger: the step moved the weights further",
    "Euclidean length, over all target layers together, of what this step changed in the weights.",
    "It grows with model size, so compare it within a size.",
)
UPDATE_NORM_SUM = Signal(
    "update_norm_sum",
    "Update norm (sum)",
    "norm",
    0,
    inf,
    "larger: the step moved the weights further",
    "The layers' Frobenius norms of what this step changed, added up.",
    "It grows in proportion to the number of layers, so compare it within one architecture.",
)
STATE_NORM = Signal(
    "state_norm",
    "State norm",
    "norm",
    0,
    inf,
    "larger: the model is further from its base",
    "Euclidean length, over all target layers together, of the distance from the base to this state.",
    "It usually rises with every step, so part of what it predicts is the step index.",
)
STATE_NORM_SUM = Signal(
    "state_norm_sum",
    "State norm (sum)",
    "norm",
    0,
    inf,
    "larger: the model is further from its base",
    "The layers' Frobenius norms of the distance from the base to this state, added up.",
    "It usually rises with every step, so part of what it predicts is the step index.",
)
ACTIVE_SAR = Signal(
    "active_sar",
    "Active SAR",
    "geometry",
    0,
    1,
    "larger: the active updates read the same input directions",
    "Subspace alignment ratio, the share of one update's norm inside the other's leading input directions, "
    "averaged both ways over pairs of active updates.",
    "It uses the right singular vectors of the other update, so it says nothing about what is written out.",
)
STATE_SAR = Signal(
    "state_sar",
    "State SAR",
    "geometry",
    0,
    1,
    "larger: the state and the active updates read the same input directions",
    "Subspace alignment ratio between the state's update and each active update.",
    "It uses the right singular vectors of the other update, and the state contains what it learnt from the "
    "active tasks, so some alignment is built in.",
)
ACTIVE_CONFLICT = Signal(
    "active_conflict",
    "Active GC",
    "geometry",
    0,
    1,
    "larger: the active updates have more different geometries",
    "Geometry conflict, the normalised squared Bures-Wasserstein distance of two updates' input covariances, "
    "averaged over pairs of active updates.",
    "Updates of very different size conflict even where their directions agree; there is no pair at step 1.",
)
STATE_CONFLICT = Signal(
    "state_conflict",
    "State GC",
    "geometry",
    0,
    1,
    "larger: the state's geometry differs more from the active updates'",
    "Geometry conflict between the state's update and each active update.",
    "A state is usually larger than any one update, and that difference in size alone counts as conflict.",
)
GLOBAL_ACTIVE_CONFLICT = Signal(
    "global_active_conflict",
    "Global active GC",
    "geometry",
    0,
    1,
    "larger: the active updates have more different geometries",
    "Geometry conflict over pairs of active updates, in the union basis of all of them.",
    "It differs from the active conflict only through lambda, so for lambda near 0 the two are one signal.",
)
GLOBAL_STATE_CONFLICT = Signal(
    "global_state_conflict",
    "Global state GC",
    "geometry",
    0,
    1,
    "larger: state and active updates have more different geometries",
    "Geometry conflict over all pairs of the state and the active updates, in the union basis of all.",
    "With t tasks active only 2 / (t + 1) of the pairs involve the state, so it nears the active conflict.",
)
STATE_GAP = Signal(
    "state_gap",
    "State gap",
    "geometry",
    -1,
    1,
    "larger: the state fits the active updates worse than they fit each other",
    "State conflict minus active conflict.",
    "The paper names it without a formula; it is undefined at step 1, where there is no active pair.",
)
GLOBAL_GAP = Signal(
    "global_gap",
    "Global gap",
    "geometry",
    -1,
    1,
    "larger: adding the state raises the conflict of the set",
    "Global state conflict minus global active conflict.",
    "As lambda nears 0 it is 2 / (t + 1) times the state gap when all t tasks are active, so it carries the "
    "step index.",
)
MEAN_GRAD_COS = Signal(
    "mean_grad_cos",
    "Mean grad cos",
    "gradient",
    -1,
    1,
    "larger: the active tasks' gradients agree more",
    "Cosine of two active tasks' probe gradients at this state, averaged over pairs and layers.",
    "With few probe examples a gradient is mostly noise, which pulls the cosine towards 0.",
)
MIN_GRAD_COS = Signal(
    "min_grad_cos",
    "Min grad cos",
    "gradient",
    -1,
    1,
    "larger: even the worst pair of gradients agrees more",
    "The smallest cosine of two active tasks' probe gradients over pairs and layers.",
    "A minimum over more pairs is lower by chance alone, so it falls with the step index.",
)
NEG_GRAD_RATIO = Signal(
    "neg_grad_ratio",
    "Neg-grad ratio",
    "gradient",
    0,
    1,
    "larger: more pairs of gradients point against each other",
    "The share of pairs and layers in which two active tasks' probe gradients have a negative cosine.",
    "With few probe examples cosines near 0 change sign by chance.",
)
STEP_INDEX = Signal(
    "step",
    "Step index",
    "baseline",
    1,
    inf,
    "larger: later in the sequence",
    "The number of the step, which a useful signal must beat.",
    "Forgetting, norms and the global gap all trend with it.",
)


_RIGHT = "It uses the right singular vectors of the other update, so it says nothing about what is written out."
_SIZE = "Updates of very different size conflict even where their directions agree."
_NOISE = "With few probe examples a gradient is mostly noise, which pulls the cosine towards 0."

MEAN_SAR = Signal(
    "mean_sar",
    "Mean SAR",
    "geometry",
    0,
    1,
    "larger: the two updates read the same input directions",
    "Subspace alignment ratio of the new and the old task's update, averaged over layers.",
    _RIGHT,
)
MAX_SAR = Signal(
    "max_sar",
    "Max SAR",
    "geometry",
    0,
    1,
    "larger: in some layer the two updates read the same input directions",
    "Subspace alignment ratio of the two updates in the layer where it is largest.",
    _RIGHT,
)
MEAN_CONFLICT = Signal(
    "mean_conflict",
    "GC",
    "geometry",
    0,
    1,
    "larger: the two updates have more different geometries",
    "Geometry conflict of the new and the old task's update, averaged over layers.",
    _SIZE,
)
MAX_CONFLICT = Signal(
    "max_conflict",
    "Max GC",
    "geometry",
    0,
    1,
    "larger: in some layer the two updates have very different geometries",
    "Geometry conflict of the two updates in the layer where it is largest.",
    "One small layer decides it, and it is close to 1 in most large models.",
)
PAIR_MEAN_GRAD_COS = Signal(
    "mean_grad_cos",
    "Mean grad cos",
    "gradient",
    -1,
    1,
    "larger: the two tasks' gradients agree more",
    "Cosine of the new and the old task's probe gradients at this state, averaged over layers.",
    _NOISE,
)
PAIR_MIN_GRAD_COS = Signal(
    "min_grad_cos",
    "Min grad cos",
    "gradient",
    -1,
    1,
    "larger: even in the worst layer the two gradients agree more",
    "Cosine of the two tasks' probe gradients in the layer where it is smallest.",
    _NOISE,
)
PAIR_NEG_GRAD_RATIO = Signal(
    "neg_grad_ratio",
    "Neg-grad ratio",
    "gradient",
    0,
    1,
    "larger: in more layers the two gradients point against each other",
    "The share of layers in which the two tasks' probe gradients have a negative cosine.",
    "With few probe examples cosines near 0 change sign by chance.",
)
PAIR_AGE = Signal(
    "age",
    "Steps since",
    "baseline",
    1,
    float("inf"),
    "larger: the old task was trained longer ago",
    "How many steps ago the old task was trained, which a useful pair signal must beat.",
)
