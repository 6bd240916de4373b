"""Singular bases of task updates on disk, reused when a run gains steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Basis:
    """What is known of one full update of a layer, enough to compare it with others without its spectrum."""

    V: Tensor
    """Right singular vectors (d_in, rank), float64, right to single precision."""
    s: Tensor
    """Singular values (rank), float64."""
    s_1: float
    """The largest singular value before truncation."""
    energy_kept: float
    """The share of squared energy in `s`; NaN for a zero update."""
    norm: float
    """||D||_F."""


def write_bases(path: Path, bases: Mapping[str, Basis]) -> None:
    """Keeps a layer's bases by object in one safetensors file, V in single precision; a kill leaves no half.

    Args:
        path: the file.
        bases: by object, such as `task:biology`.
    """
    tensors = {}
    for name, basis in bases.items():
        tensors[f"{name}/V"] = basis.V.T.to(torch.float32).contiguous()
        tensors[f"{name}/s"] = basis.s.contiguous()
        tensors[f"{name}/values"] = torch.tensor([basis.s_1, basis.energy_kept, basis.norm], dtype=torch.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, draft)
    os.replace(draft, path)


def read_bases(path: Path) -> dict[str, Basis]:
    """The bases that `write_bases` kept; none where there is no file or it cannot be read, since they can be remade."""
    try:
        tensors = load_file(path)
        names = [key.removesuffix("/s") for key in tensors if key.endswith("/s")]
        return {name: _basis(tensors, name) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}


def _basis(tensors: Mapping[str, Tensor], name: str) -> Basis:
    s_1, energy_kept, norm = tensors[f"{name}/values"].tolist()
    V = tensors[f"{name}/V"].double().T
    return Basis(V, tensors[f"{name}/s"], s_1=s_1, energy_kept=energy_kept, norm=norm)
