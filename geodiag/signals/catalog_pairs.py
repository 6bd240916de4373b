"""The signals of a pair: the step's new task against one old task."""

from __future__ import annotations

from geodiag.signals.signal import Signal

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
