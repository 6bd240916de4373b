"""From the name of a tensor to its layer, block and family."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from geodiag.checkpoints.architectures import (
    ARCHITECTURES,
    FALLBACK,
    LEFT_OUT,
    PREFIXES,
    TOWERS,
    Architecture,
)

_CANONICAL = "model.layers."
_TABLED = re.compile(r"(?P<block>[0-9]{1,6})\.(?P<module>.+)\.weight")


@dataclass(frozen=True)
class Place:
    """Where a target tensor sits in its model."""

    layer: str
    """The layer's canonical name, the same however the checkpoint was saved: `model.layers.0.mlp.up_proj`."""
    block: int
    """The number of its block, from 0."""
    family: str
    """Its projection family."""


PlaceOf = Callable[[str], Place | None]
"""The place of a tensor by its name; None when it is not a projection."""


def naming_of(config: Mapping[str, Any]) -> tuple[str, PlaceOf]:
    """How a model names its tensors.

    Args:
        config: its `config.json`.

    Returns:
        The `model_type` whose table is used ("any" when none fits and names are matched by pattern), and the
        function from a tensor's name to its place.
    """
    text = config.get("text_config")
    types = [config.get("model_type"), text.get("model_type") if isinstance(text, Mapping) else None]
    for model_type in types:
        if isinstance(model_type, str) and model_type in ARCHITECTURES:
            return model_type, partial(_by_table, architecture=ARCHITECTURES[model_type])
    return "any", _by_pattern


def why_left_out(name: str) -> str:
    """Why a tensor that is no projection is not compared: "norm", "bias", ..., or "unknown"."""
    return next((why for why, pattern in LEFT_OUT.items() if pattern.search(name)), "unknown")


def other_names(tensor: str) -> tuple[str, ...]:
    """The names that the same tensor can have in a checkpoint saved with another prefix."""
    for prefix in PREFIXES:
        if tensor.startswith(prefix):
            rest = tensor.removeprefix(prefix)
            return tuple(other + rest for other in PREFIXES if other != prefix)
    return ()


def _by_table(name: str, *, architecture: Architecture) -> Place | None:
    for prefix in architecture.prefixes:
        if name.startswith(prefix):
            match = _TABLED.fullmatch(name.removeprefix(prefix))
            if match and match["module"] in architecture.modules:
                layer = f"{_CANONICAL}{int(match['block'])}.{match['module']}"
                return Place(layer, int(match["block"]), architecture.modules[match["module"]])
    return None


def _by_pattern(name: str) -> Place | None:
    match = FALLBACK.fullmatch(name)
    if match is None or TOWERS.search(name):
        return None
    layer = match["stem"]
    prefix = next((p for p in PREFIXES if layer.startswith(p)), None)
    if prefix is not None:
        layer = _CANONICAL + layer.removeprefix(prefix)
    return Place(layer, int(match["block"]), match["family"])
