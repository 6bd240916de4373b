"""The definitions by brute force: full SVDs, explicit union bases, dense matrix square roots, in float64 numpy.

Nothing here shares code or a formula's rearrangement with the package; it is what the package is checked against.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg


def truncated_spectrum(D, *, rank=32, energy=0.95, lam=1e-6):
    """Top right singular vectors (d_in, r) and values (r,) of one update."""
    _, s, Vh = np.linalg.svd(D, full_matrices=False)
    cumulative = np.cumsum(s**2)
    reached = np.nonzero(cumulative >= energy * np.sum(D**2))[0]
    r = min(rank, (reached[0] + 1) if len(reached) else len(s))
    r = min(r, int(np.sum(s**2 > lam)))
    return Vh[:r].T, s[:r]


def union_basis(bases, *, tol=1e-6):
    """An orthonormal basis of all columns together, by a rank-revealing SVD."""
    U, s, _ = np.linalg.svd(np.concatenate(bases, axis=1), full_matrices=False)
    return U[:, s > tol]


def covariance(V, s, Q, *, lam=1e-6):
    """B = Q'V diag(s^2) V'Q + lambda I."""
    P = Q.T @ V
    return P @ np.diag(s**2) @ P.T + lam * np.eye(Q.shape[1])


def sqrtm_psd(A):
    """The principal square root of a symmetric positive semi-definite matrix."""
    w, U = scipy.linalg.eigh(A)
    return (U * np.sqrt(np.clip(w, 0, None))) @ U.T


def bures_sq(A, B):
    """tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2."""
    root = sqrtm_psd(A)
    return float(np.trace(A) + np.trace(B) - 2 * np.trace(sqrtm_psd(root @ B @ root)))


def conflict(i, j, Q, *, lam=1e-6):
    """d2 / (tr + tr + lambda) of two (V, s) in the basis Q; nan where either is empty."""
    if not len(i[1]) or not len(j[1]):
        return float("nan")
    A, B = covariance(*i, Q, lam=lam), covariance(*j, Q, lam=lam)
    return bures_sq(A, B) / (np.trace(A) + np.trace(B) + lam)


def sar(D_i, V_j):
    """||D_i V_j||_F / ||D_i||_F."""
    norm = np.linalg.norm(D_i)
    return float(np.linalg.norm(D_i @ V_j) / norm) if norm > 0 and V_j.shape[1] else float("nan")
