"""The tensors of a LoRA adapter by what they are: factors, whole weights, and others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import LeftOut
from geodiag.errors import CheckpointError

_PREFIX = re.compile(r"(?:base_model\.model\.)?(?P<rest>.+)")
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?P<adapter>[^.]+))?\.weight")
_SAVED = re.compile(r"(?P<module>.+)\.modules_to_save(?:\.(?P<adapter>[^.]+))?\.(?P<what>weight|bias)")
_EMBEDDED = re.compile(r".+\.(?:lora_embedding_[AB](?:\.[^.]+)?|token_adapter\..+|trainable_tokens_\w+(?:\.[^.]+)?)")
_OF_BASE = re.compile(r".+\.(?:original_module|base_layer)\..+")

_UNREAD = (
    (re.compile(r".+\.lora_magnitude_vector\b.*"), "DoRA rescales the sum of base and product", "use_dora"),
    (re.compile(r".+\.lora_B(?:\.[^.]+)?\.bias"), "the bias beside the factors is no part of the weight", "lora_bias"),
    (re.compile(r".+\.experts(?:\.base_layer)?\.lora_[AB]\..+"), "factors of stacked experts are packed in an order of "
     "their own", "target_parameters"),
)  # fmt: skip
"""Tensors of kinds that are refused, for adapters whose configuration does not say what they are."""


@dataclass(frozen=True)
class AdapterTensors:
    """What each tensor of an adapter is. Modules go by their path in the model, without any wrapper's names."""

    factors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Module -> "A" and "B" -> the name of that factor."""
    whole: Mapping[str, str] = field(default_factory=dict)
    """Name of a weight in the model -> the tensor that holds all of it (`modules_to_save`)."""
    left_out: tuple[LeftOut, ...] = ()
    """Tensors that change no target layer."""


def sort_tensors(weights: Checkpoint) -> AdapterTensors:
    """Sorts the tensors of an adapter by their names.

    Args:
        weights: the adapter's file.

    Raises:
        CheckpointError: factors without their partner, several adapters in one file, or a tensor of a kind that
            is not read.
    """
    factors: dict[str, dict[str, str]] = {}
    whole: dict[str, str] = {}
    left_out: list[LeftOut] = []
    adapters: set[str] = set()
    for name in weights.names:
        _check_kind(name, weights)
        rest = _PREFIX.fullmatch(name)["rest"]  # type: ignore[index]  # it fits any name
        factor, saved = _FACTOR.fullmatch(rest), _SAVED.fullmatch(rest)
        found = factor or saved
        adapters |= {found["adapter"]} if found and found["adapter"] else set()
        why = _why_left_out(rest)
        if factor:
            _add_factor(factors, factor["module"], factor["side"], name, weights)
        elif why:
            left_out.append(LeftOut(name, weights.info(name).shape, why))
        else:
            whole[f"{saved['module']}.{saved['what']}" if saved else rest] = name
    _check_adapters(adapters, weights)
    _check_pairs(factors, weights)
    return AdapterTensors(factors, whole, tuple(left_out))


def _why_left_out(rest: str) -> str:
    if rest.endswith("bias"):
        return "bias"
    if _EMBEDDED.fullmatch(rest):
        return "embedding"
    return "base" if _OF_BASE.fullmatch(rest) and not _FACTOR.fullmatch(rest) else ""


def _check_kind(name: str, weights: Checkpoint) -> None:
    for pattern, why, key in _UNREAD:
        if pattern.fullmatch(name):
            raise CheckpointError(f"{why} ({key})", where=weights.path, tensor=name, fix="merge it into its base first")
    if ".lora_" in name and not (_FACTOR.fullmatch(name) or _EMBEDDED.fullmatch(name)):
        what = "no factor of a LoRA adapter that is known"
        raise CheckpointError(what, where=weights.path, tensor=name, fix="merge it into its base first")


def _add_factor(factors: dict[str, dict[str, str]], module: str, side: str, name: str, weights: Checkpoint) -> None:
    of_module = factors.setdefault(module, {})
    if side in of_module:
        what = f"the same factor as tensor {of_module[side]}"
        raise CheckpointError(what, where=weights.path, tensor=name, fix="keep one adapter a file")
    of_module[side] = name


def _check_adapters(adapters: set[str], weights: Checkpoint) -> None:
    if len(adapters) > 1:
        what = f"holds {len(adapters)} adapters: {', '.join(sorted(adapters))}"
        raise CheckpointError(what, where=weights.path, fix="save each in a folder of its own")


def _check_pairs(factors: Mapping[str, Mapping[str, str]], weights: Checkpoint) -> None:
    for of_module in factors.values():
        if len(of_module) < 2:
            ((side, name),) = of_module.items()
            what = f"there is no factor {'B' if side == 'A' else 'A'} to it"
            raise CheckpointError(what, where=weights.path, tensor=name, fix="save the adapter again")
