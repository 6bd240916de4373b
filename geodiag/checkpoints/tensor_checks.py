"""Checks of one stored tensor: dtype, shape and finite numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodiag.checkpoints.range_file import READABLE
from geodiag.checkpoints.safetensors_file import TensorInfo
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def quantisation(config: Mapping[str, Any]) -> str | None:
    """The method that a `config.json` names for quantised weights; None when it names none."""
    quantised = config.get("quantization_config")
    return str(quantised.get("quant_method", "an unnamed method")) if isinstance(quantised, Mapping) else None


def check_readable(info: TensorInfo, *, where: Path, tensor: str, method: str | None = None) -> None:
    """Refuse a tensor whose stored numbers are not the weights themselves.

    Args:
        info: what its header says.
        where: the file or folder, for the error.
        tensor: its name, for the error.
        method: the quantisation method, where it is known.

    Raises:
        CheckpointError: the type is not one of float16, bfloat16, float32, float64.
    """
    if info.dtype not in READABLE:
        by = f" (quantised with {method})" if method else ""
        what = f"stored as {info.dtype}{by}, which cannot be compared"
        fix = "bring the checkpoint in bfloat16, float16, float32 or float64"
        raise CheckpointError(what, where=where, tensor=tensor, fix=fix)


def check_shape(shape: tuple[int, ...], right: tuple[int, ...], *, where: Path, tensor: str, of: str = "base") -> None:
    """Refuse a tensor that is not of the base's shape.

    Args:
        shape: its shape.
        right: the shape it should have.
        where: the folder, for the error.
        tensor: its name, for the error.
        of: what asks for that shape.

    Raises:
        CheckpointError: the shapes differ.
    """
    if shape != right:
        verb = "has" if of == "base" else "ask for"
        what = f"shape {_by(shape)} where the {of} {verb} {_by(right)}"
        fix = "give a checkpoint of the base's own size" if of == "base" else "give the base it was trained on"
        raise CheckpointError(what, where=where, tensor=tensor, fix=fix)


def check_finite(weight: torch.Tensor, *, where: Path, tensor: str) -> None:
    """Refuse a tensor with NaN or infinities.

    Args:
        weight: the tensor, or the part of it that is used.
        where: its file, for the error.
        tensor: its name, for the error.

    Raises:
        CheckpointError: it holds one; the error counts them.
    """
    import torch

    # One pass without a copy: minimum and maximum are NaN or infinite as soon as one number is. Counting
    # with isfinite takes some forty times longer, so it waits for a reason.
    low, high = torch.aminmax(weight)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        n_nan, n_inf = int(weight.isnan().sum()), int(weight.isinf().sum())
        what = f"{n_nan} NaN and {n_inf} infinite of {weight.numel()} numbers"
        fix = "the checkpoint comes from a diverged or broken run; use an earlier one"
        raise CheckpointError(what, where=where, tensor=tensor, fix=fix)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
