"""Merging rules as their papers write them, slow and plain."""

import numpy as np
import torch

from tests import oracle


def random_updates(seed, *, m=3, d_out=12, d_in=20, scale=1.0, decay=0.7, dtype=torch.float64):
    """m updates with power-law spectra whose directions partly overlap."""
    rng = np.random.default_rng(seed)
    r = min(d_out, d_in)
    shared = rng.standard_normal((r, d_in))
    spectrum = np.arange(1, r + 1) ** -decay
    found = [(rng.standard_normal((d_out, r)) * spectrum) @ (shared + rng.standard_normal((r, d_in))) for _ in range(m)]
    return [torch.tensor(scale * D / np.linalg.norm(D), dtype=dtype) for D in found]


def wudi_objective(M, updates, weights):
    """sum_i w_i / ||D_i||^2 ||(M - D_i) D_i'||^2."""
    return sum(w * ((M - D) @ D.T).square().sum() / D.square().sum() for w, D in zip(weights, updates, strict=True))


def wudi_by_adam(updates, weights, *, lr, iterations):
    """The released procedure: autograd through the objective, torch's Adam as it comes."""
    M = sum(updates).clone().requires_grad_()
    optimizer = torch.optim.Adam([M], lr=lr)
    for _ in range(iterations):
        optimizer.zero_grad()
        wudi_objective(M, updates, weights).backward()
        optimizer.step()
    return M.detach()


def dense_metric(Q, B, lam):
    """Q B Q' + lambda (I - Q Q') as a d_in x d_in matrix."""
    return Q @ B @ Q.T + lam * (np.eye(len(Q)) - Q @ Q.T)


def power(G, exponent):
    """A power of a symmetric positive definite matrix."""
    values, U = np.linalg.eigh(G)
    return (U * values**exponent) @ U.T


def geometry(updates, *, rank, energy, lam):
    """(V_i, s_i) of each update, their union basis Q, and B_i in it."""
    spectra = [oracle.truncated_spectrum(D.numpy(), rank=rank, energy=energy, lam=lam) for D in updates]
    Q = oracle.union_basis([V for V, _ in spectra])
    return spectra, Q, [oracle.covariance(V, s, Q, lam=lam) for V, s in spectra]


def fixed_point_barycenter(covariances, weights, *, iterations=1000):
    """S <- S^-1/2 (sum_i w_i (S^1/2 B_i S^1/2)^1/2)^2 S^-1/2, from the mean."""
    S = sum(w * B for w, B in zip(weights, covariances, strict=True))
    for _ in range(iterations):
        root, inverse = power(S, 0.5), power(S, -0.5)
        mean = sum(w * oracle.sqrtm_psd(root @ B @ root) for w, B in zip(weights, covariances, strict=True))
        S = inverse @ mean @ mean @ inverse
    return S
