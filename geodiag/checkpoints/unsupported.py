"""Refusals: checkpoint forms that are not supported, and tensors of a wrong type, shape or value."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodiag.checkpoints.range_file import READABLE
from geodiag.checkpoints.safetensors_file import TensorInfo
from geodiag.errors import CheckpointError

if TYPE_CHECKING:
    import torch


PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files that run code when they are loaded."""

_MODEL_TO_SAFETENSORS = (
    'from transformers import AutoModelForCausalLM as M; M.from_pretrained({old}, dtype="auto").save_pretrained({new})'
)
_FILE_TO_SAFETENSORS = (
    "import torch; from safetensors.torch import save_file; "
    'w = torch.load({old}, map_location="cpu", weights_only=True); '
    "save_file({{k: v.contiguous().clone() for k, v in w.items()}}, {new})"
)
_MERGE_ADAPTER = (
    "from peft import AutoPeftModelForCausalLM as M; "
    'M.from_pretrained({old}, dtype="auto").merge_and_unload().save_pretrained({new})'
)


def pickled_folder(path: Path) -> CheckpointError:
    """A folder whose weights are pickles."""
    fix = _command(_MODEL_TO_SAFETENSORS, path, path.with_name(path.name + "-safetensors"))
    return CheckpointError("the weights are pickles, which run code when loaded", where=path, fix=fix)


def pickled_file(path: Path) -> CheckpointError:
    """A single pickled state dict."""
    fix = _command(_FILE_TO_SAFETENSORS, path, path.with_suffix(".safetensors"))
    return CheckpointError("a pickle, which runs code when loaded", where=path, fix=fix)


def adapter(path: Path) -> CheckpointError:
    """A LoRA adapter where whole weights are asked for, as in the base of a run."""
    return CheckpointError("a LoRA adapter, not a checkpoint with whole weights", where=path, fix=merge_command(path))


def merge_command(path: Path) -> str:
    """The command that merges an adapter into its base."""
    return _command(_MERGE_ADAPTER, path, path.with_name(path.name + "-merged"), verb="merge")


def gguf(path: Path) -> CheckpointError:
    """A GGUF file, whose weights are quantised or renamed for llama.cpp."""
    message = "a GGUF file, whose weights are packed for llama.cpp"
    return CheckpointError(message, where=path, fix="bring the Hugging Face checkpoint that it was made from")


def training_state(path: Path, file: str) -> CheckpointError:
    """The sharded state of a trainer (FSDP, DeepSpeed, distributed checkpoint)."""
    message = f"the sharded state of a trainer ({file}), not a model"
    fix = "save the model itself: `accelerate merge-weights` (FSDP), `zero_to_fp32.py --safe_serialization` (DeepSpeed)"
    return CheckpointError(message, where=path, fix=fix)


def _command(code: str, old: Path, new: Path, *, verb: str = "convert") -> str:
    names = {key: json.dumps(str(path), ensure_ascii=False) for key, path in (("old", old), ("new", new))}
    return f"{verb} it first: python -c {shlex.quote(code.format(**names))}"


def quantisation(config: Mapping[str, Any]) -> str | None:
    """The method that a `config.json` names for quantised weights; None when it names none."""
    quantised = config.get("quantization_config")
    return str(quantised.get("quant_method", "an unnamed method")) if isinstance(quantised, Mapping) else None


def check_readable(info: TensorInfo, *, where: Path, tensor: str, method: str | None = None) -> None:
    """Refuse a tensor whose stored numbers are not the weights themselves.

    Args:
        info: its shape and dtype.
        where: the file or folder, for the error.
        tensor: its name, for the error.
        method: the quantisation method, where the configuration names one.

    Raises:
        CheckpointError: the type is not one of float16, bfloat16, float32, float64.
    """
    if info.dtype not in READABLE:
        by = f" (quantised with {method})" if method else ""
        message = f"stored as {info.dtype}{by}, which cannot be compared"
        fix = "bring the checkpoint in bfloat16, float16, float32 or float64"
        raise CheckpointError(message, where=where, tensor=tensor, fix=fix)


def check_shape(shape: tuple[int, ...], right: tuple[int, ...], *, where: Path, tensor: str, of: str = "base") -> None:
    """Refuse a tensor that is not of the base's shape.

    Args:
        shape: its shape.
        right: the shape it should have.
        where: the folder, for the error.
        tensor: its name, for the error.
        of: the source of the right shape, for the error.

    Raises:
        CheckpointError: the shapes differ.
    """
    if shape != right:
        verb = "has" if of == "base" else "ask for"
        message = f"shape {_by(shape)} where the {of} {verb} {_by(right)}"
        fix = "give a checkpoint of the base's own size" if of == "base" else "give the base it was trained on"
        raise CheckpointError(message, where=where, tensor=tensor, fix=fix)


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
        message = f"{n_nan} NaN and {n_inf} infinite of {weight.numel()} numbers"
        fix = "the checkpoint comes from a diverged or broken run; use an earlier one"
        raise CheckpointError(message, where=where, tensor=tensor, fix=fix)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
