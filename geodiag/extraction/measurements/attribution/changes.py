"""Changes of a model's parameters, dense or factored, and the parameters' parts that they belong to.

Symbols: W a weight (d_out, d_in), Delta its change, s B A a factored term with B (d_out, r) and A (r, d_in), x inputs
(..., d_in), G a gradient in W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from geodiag.checkpoints.layers import WHOLE, MatrixPart

_CHUNK = 2**24


class Change(Protocol):
    """A change Delta of one parameter, or of one part of it."""

    def times(self, x: Tensor) -> Tensor:
        """Delta x for inputs x (..., d_in), in the dtype of x: (..., d_out)."""

    def dot(self, G: Tensor) -> Tensor:
        """<G, Delta> in float64, a scalar on the device of G."""

    def dense(self) -> Tensor:
        """Delta in full."""

    def squared_norm(self) -> float:
        """||Delta||_F^2."""


@dataclass(frozen=True)
class DenseChange:
    """A change held in full, of any shape."""

    delta: Tensor

    def times(self, x: Tensor) -> Tensor:
        """Delta x."""
        return x @ self.delta.to(x.dtype).mT

    def dot(self, G: Tensor) -> Tensor:
        """<G, Delta>."""
        return inner_product(G, self.delta)

    def dense(self) -> Tensor:
        """Delta itself."""
        return self.delta

    def squared_norm(self) -> float:
        """||Delta||_F^2."""
        return inner_product(self.delta, self.delta).item()


@dataclass(frozen=True)
class Term:
    """One factored term, s B A."""

    scale: float
    B: Tensor
    A: Tensor


@dataclass(frozen=True)
class FactoredChange:
    """A sum of factored terms, Delta = sum_k s_k B_k A_k, never multiplied out to apply it."""

    terms: tuple[Term, ...]

    def times(self, x: Tensor) -> Tensor:
        """sum_k s_k B_k (A_k x)."""
        return sum_tensors([term.scale * (x @ term.A.to(x.dtype).mT) @ term.B.to(x.dtype).mT for term in self.terms])

    def dot(self, G: Tensor) -> Tensor:
        """sum_k s_k <B_k' G, A_k>."""
        return sum_tensors(
            [term.scale * inner_product(term.B.to(G.dtype).mT @ G, term.A.to(G.dtype)) for term in self.terms]
        )

    def dense(self) -> Tensor:
        """The products multiplied out."""
        return sum_tensors([term.scale * (term.B @ term.A) for term in self.terms])

    def squared_norm(self) -> float:
        """sum_(k,l) s_k s_l <B_k' B_l, A_k A_l'>, without the product of B and A."""
        B = torch.cat([term.scale * term.B.double() for term in self.terms], dim=1)
        A = torch.cat([term.A.double() for term in self.terms])
        return ((B.mT @ B) * (A @ A.mT)).sum().clamp(min=0).item()


@dataclass(frozen=True)
class Piece:
    """A part of a parameter that belongs to one group, with its change in each direction."""

    group: str
    """The group that its products add to."""
    changes: Mapping[str, Change]
    """By direction: the step itself, and its parts in subspaces of the inputs."""
    part: MatrixPart = WHOLE
    """Which part of the parameter."""


def inner_product(G: Tensor, D: Tensor) -> Tensor:
    """<G, D> in float64, in pieces so that no float64 copy of a whole tensor is held."""
    g, d = G.reshape(-1), D.reshape(-1)
    pieces = [torch.dot(a.double(), b.double()) for a, b in zip(g.split(_CHUNK), d.split(_CHUNK), strict=True)]
    return torch.stack(pieces).sum()


def sum_tensors(terms: Sequence[Tensor]) -> Tensor:
    """The sum of at least one tensor."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
