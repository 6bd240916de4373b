"""The published procedure, as its release is described, for comparison: `python -m benchmarks.published RUN`.

Every step anew: every pair of the active set and every pair with the state, each in an explicit union basis
from an unpivoted QR; each Bures distance by two eigendecompositions (of one covariance for its root, and of
the product for its trace); the global values by the same two eigendecompositions in the union basis of the
whole set, for every pair. In its favour, all updates are held in memory and each spectrum
(`torch.svd_lowrank`, q = rank + 8, niter = 2) is computed once, not once a step.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

RANK, LAM = 32, 1e-6
Described = tuple[Tensor, Tensor, Tensor]  # D, V, s


def main() -> None:
    """Prints each step's signals as one JSON list."""
    folder = Path(sys.argv[1])
    config = yaml.safe_load((folder / "run.yaml").read_text())
    base = load_file(folder / config["base"] / "model.safetensors")
    read = {
        key: [load_file(folder / s[key] / "model.safetensors") for s in config["steps"]] for key in ("expert", "state")
    }
    steps: list[dict[str, list[float]]] = [{} for _ in config["steps"]]
    for name, weight in base.items():
        tasks = [describe(w[name].float() - weight.float()) for w in read["expert"]]
        states = [describe(w[name].float() - weight.float()) for w in read["state"]]
        for t, found in enumerate(steps, start=1):
            one_step(tasks[:t], states[t - 1], found)
    print(json.dumps([{k: sum(v) / len(v) for k, v in found.items()} for found in steps]))


def describe(D: Tensor) -> Described:
    """An update with its truncated spectrum."""
    _, s, V = torch.svd_lowrank(D, q=RANK + 8, niter=2)
    reached = torch.cumsum(s**2, 0) >= 0.95 * (s**2).sum()
    r = min(RANK, int(reached.int().argmax()) + 1)
    return D, V[:, :r].double(), s[:r].double()


def one_step(active: list[Described], state: Described, found: dict[str, list[float]]) -> None:
    """Adds one layer's values of one step."""
    among, everything = union(active), union([*active, state])
    for a, b in itertools.combinations(active, 2):
        found.setdefault("active_sar", []).append(sar(a, b))
        found.setdefault("active_conflict", []).append(conflict(a, b, union([a, b])))
        found.setdefault("global_active_conflict", []).append(conflict(a, b, among))
        found.setdefault("global_state_conflict", []).append(conflict(a, b, everything))
    for b in active:
        found.setdefault("state_sar", []).append(sar(state, b))
        found.setdefault("state_conflict", []).append(conflict(state, b, union([state, b])))
        found.setdefault("global_state_conflict", []).append(conflict(state, b, everything))


def union(members: list[Described]) -> Tensor:
    """The union basis by an unpivoted QR."""
    return torch.linalg.qr(torch.cat([m[1] for m in members], dim=1)).Q


def sar(a: Described, b: Described) -> float:
    """The mean of both ways."""
    forth = torch.linalg.norm(a[0] @ b[1].float()) / torch.linalg.norm(a[0])
    back = torch.linalg.norm(b[0] @ a[1].float()) / torch.linalg.norm(b[0])
    return float(forth + back) / 2


def conflict(a: Described, b: Described, Q: Tensor) -> float:
    """d2 / (tr A + tr B + lambda) by two eigendecompositions."""
    A, B = covariance(a, Q), covariance(b, Q)
    w, U = torch.linalg.eigh(A)
    root = (U * w.clamp(min=0).sqrt()) @ U.T
    fidelity = torch.linalg.eigh(root @ B @ root)[0].clamp(min=0).sqrt().sum()
    traces = A.trace() + B.trace()
    return float((traces - 2 * fidelity) / (traces + LAM))


def covariance(a: Described, Q: Tensor) -> Tensor:
    """Q'V diag(s^2) V'Q + lambda I."""
    P = (Q.T @ a[1]) * a[2]
    return P @ P.T + LAM * torch.eye(Q.shape[1], dtype=Q.dtype)


if __name__ == "__main__":
    main()
