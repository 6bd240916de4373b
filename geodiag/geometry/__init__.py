"""The geometry of weight updates: pure functions of tensors, batch dimensions first.

An update D (d_out x d_in) is described by its top right singular vectors V (d_in x k) and values s (k): the
directions of the layer's input along which it acts, and how strongly. All functions compare such descriptions.
None reads a file, uses a layer's name or has a setting's default.

Notation, the same in every module; ' is the transpose:
    D, D_i    (d_out, d_in)  update of one layer, theta_new - theta_old
    V_i, s_i  (d_in, k), (k) top right singular vectors and values of D_i, zero where padded
    C         (k, l)         V_i'V_j, the cross-Gram of two updates
    Q         (d_in, q)      orthonormal basis of the span of several V_i
    B_i       (q, q)         projected geometry, Q'V_i diag(s_i^2) V_i'Q + lambda I_q
    lam       lambda >= 0, the regulariser
    d2        squared Bures-Wasserstein distance of two B_i
    gamma     geometry conflict, in [0, 1]
    g_i, G    gradient of task i; Gram matrix <g_i, g_j> of several
"""

from geodiag.geometry.barycenter import Barycenter, bures_barycenter
from geodiag.geometry.bures import (
    PairGeometry,
    bures_conflict,
    bures_distance,
    bures_fidelity,
    cross_gram,
    pair_geometry,
)
from geodiag.geometry.change import (
    changed_share,
    difference,
    frobenius_norm,
    product_floor_sq,
    right_factor,
    rounding_floor_sq,
    stable_rank,
)
from geodiag.geometry.gradient import (
    gradient_cosines,
    gradient_gram,
    gradient_norms,
    gram_scratch_bytes,
    split_half_reliability,
)
from geodiag.geometry.numerics import SMALL_LAYER, one_thread, product_dtype
from geodiag.geometry.spectrum import Spectrum, right_spectrum, spectrum_columns, truncate
from geodiag.geometry.subspace import added_rank, extend_basis, projected_norms, rank_tolerance, sar_from_norms

__all__ = [
    "SMALL_LAYER",
    "Barycenter",
    "PairGeometry",
    "Spectrum",
    "added_rank",
    "bures_barycenter",
    "bures_conflict",
    "bures_distance",
    "bures_fidelity",
    "changed_share",
    "cross_gram",
    "difference",
    "extend_basis",
    "frobenius_norm",
    "gradient_cosines",
    "gradient_gram",
    "gradient_norms",
    "gram_scratch_bytes",
    "one_thread",
    "pair_geometry",
    "product_dtype",
    "product_floor_sq",
    "projected_norms",
    "rank_tolerance",
    "right_factor",
    "right_spectrum",
    "rounding_floor_sq",
    "sar_from_norms",
    "spectrum_columns",
    "split_half_reliability",
    "stable_rank",
    "truncate",
]
