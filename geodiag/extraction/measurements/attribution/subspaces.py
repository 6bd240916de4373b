"""Input directions of a task: the right singular basis of its update in each matrix, and random ones of the same width.

Symbols: D = theta_new - theta_old a task's update (d_out, d_in); V (d_in, k) its top right singular vectors, truncated
as the geometry truncates them.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.geometry import frobenius_norm, right_factor, right_spectrum
from geodiag.models.groups import WeightSlot
from geodiag.models.states import ModelState, WeightDelta


class TaskBases:
    """The bases of one task's update, made as they are asked for and kept on the CPU."""

    def __init__(self, new: ModelState, old: ModelState, settings: GeometrySettings, device: torch.device) -> None:
        self._new, self._old, self._settings, self._device = new, old, settings, device
        self._bases: dict[tuple[str, str], Tensor] = {}

    def of(self, slot: WeightSlot) -> Tensor:
        """V (d_in, k) of a matrix, float32 on the device; k = 0 where the task did not change it."""
        key = (slot.parameter, str(slot.part))
        if key not in self._bases:
            self._bases[key] = self._basis(slot).float().cpu()
        return self._bases[key].to(self._device)

    def _basis(self, slot: WeightSlot) -> Tensor:
        update = state_change(self._new, self._old, slot, self._device)
        thin = update.dense is None and update.left is not None and update.right is not None
        matrix = right_factor(update.left, update.right) if thin else update.to_dense(slot.shape)  # type: ignore[arg-type]
        norm = frobenius_norm(matrix[None])
        if norm.item() == 0.0:
            return torch.zeros(slot.shape[1], 0)
        settings = self._settings
        spectrum = right_spectrum(
            matrix[None],
            norm,
            rank=settings.rank,
            energy=settings.energy,
            lam=settings.lam,
            energy_of=settings.energy_of,
            method="thin" if thin else settings.spectrum,
        )
        return spectrum.V[0, :, : int(spectrum.rank[0])]


def state_change(new: ModelState, old: ModelState, slot: WeightSlot, device: torch.device) -> WeightDelta:
    """theta_new - theta_old of a matrix in float32; factored where both states stand on the same weight."""
    dense = None
    if not new.shares(old, slot):
        dense = new.read(slot).to(device).float() - old.read(slot).to(device).float()
    left, right = [], []
    for state, sign in ((new, 1.0), (old, -1.0)):
        for factors in state.module_factors(slot.module) if slot.attribute == "weight" else ():
            left.append(slot.part.take_rows(factors.B).to(device).float() * (sign * factors.scale))
            right.append(factors.A.to(device).float())
    if not left:
        return WeightDelta(dense)
    return WeightDelta(dense, torch.cat(left, dim=1), torch.cat(right))


def random_basis(d_in: int, width: int, *, names: tuple[str, ...]) -> Tensor:
    """An orthonormal basis (d_in, width) of random directions, float32 on the CPU.

    Args:
        d_in: the width of the inputs.
        width: how many directions.
        names: what it is for; the same names give the same directions on every machine.
    """
    seed = int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "little") >> 1
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d_in, width, generator=g)).Q
