"""Opening a LoRA adapter against its base: which layers its tensors belong to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geodiag.checkpoints import unsupported as refused
from geodiag.checkpoints.adapter import Adapter, FactorNames
from geodiag.checkpoints.adapter_files import AdapterTensors, read_settings, sort_tensors
from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import LeftOut, MatrixPart
from geodiag.checkpoints.safetensors_file import read_infos
from geodiag.checkpoints.tensor_names import Projection, naming_of, other_names, text_config, why_left_out
from geodiag.common.adapters import ADAPTER_CONFIG, ADAPTER_PICKLE, ADAPTER_WEIGHTS, AdapterLocation, find_adapter
from geodiag.common.files import read_json_object
from geodiag.common.remote import names_in
from geodiag.errors import CheckpointError


def open_adapter(path: Path, *, base: Checkpoint) -> Adapter:
    """Open a PEFT LoRA adapter, reading headers only.

    Modules are matched with the base's layers by what they are called in the model. Of a module that PEFT knows as
    a transposed one (`fan_in_fan_out`), the factors are those of the (d_out, d_in) matrix like any other's: the
    base's architecture says how the weight itself is stored.

    Args:
        path: the folder, or the one that holds it.
        base: the checkpoint that the adapter was trained on.

    Raises:
        CheckpointError: the adapter is of a kind that is not read, is damaged, or is another model's.
    """
    location = find_adapter(path)
    if location is None:
        raise CheckpointError("holds no adapter", where=path, fix=f"give a folder with {ADAPTER_CONFIG}")
    folder = location.folder
    settings = read_settings(read_json_object(location.config), where=location.config)
    weights = _weights(location, base)
    tensors = sort_tensors(weights)
    found = _Found(list(tensors.left_out))
    _place_factors(tensors, weights, base, found)
    _place_whole(tensors, weights, base, found)
    if found.strangers:
        message = f"{len(found.strangers)} of its modules are not in the base {base.path}, such as {found.strangers[0]}"
        raise CheckpointError(message, where=folder, fix="give the base that the adapter was trained on")
    if not found.factors and not found.whole:
        message = f"changes no projection of the base {base.path}"
        raise CheckpointError(
            message, where=folder, fix="give an adapter of the base's attention or feed-forward weights"
        )
    return Adapter(folder, settings, weights, found.factors, found.whole, tuple(found.left_out))


@dataclass
class _Found:
    """What is being gathered of an adapter."""

    left_out: list[LeftOut]
    strangers: list[str] = field(default_factory=list)
    factors: dict[str, FactorNames] = field(default_factory=dict)
    whole: dict[str, tuple[str, MatrixPart]] = field(default_factory=dict)


def _weights(location: AdapterLocation, base: Checkpoint) -> Checkpoint:
    folder, file = location.folder, location.weights
    if not file.is_file():
        if ADAPTER_PICKLE in names_in(folder, among=(ADAPTER_PICKLE,)):
            raise refused.pickled_file(folder / ADAPTER_PICKLE)
        raise CheckpointError(f"holds no {ADAPTER_WEIGHTS}", where=folder, fix="save the adapter in safetensors")
    infos = read_infos(file)
    tensors = {name: (info, file) for name, info in infos.items()}
    return Checkpoint(folder, base.config, tensors, reading=base.reading)


def _place_factors(tensors: AdapterTensors, weights: Checkpoint, base: Checkpoint, found: _Found) -> None:
    for module, sides in tensors.factors.items():
        shape = weights.info(sides["B"]).shape
        placed = _projections(f"{module}.weight", shape, weights, sides["B"], factored=True)
        known = [p for p in placed if p.layer in base.projections]
        for p in known:
            found.factors[p.layer] = FactorNames(module, sides["B"], sides["A"], p.part)
        if not known:
            _leave_out(f"{module}.weight", tuple(sides.values()), weights, base, found)


def _place_whole(tensors: AdapterTensors, weights: Checkpoint, base: Checkpoint, found: _Found) -> None:
    for name, tensor in tensors.whole.items():
        shape = weights.info(tensor).shape
        placed = _projections(name, shape, weights, tensor, factored=False)
        known = [p for p in placed if p.layer in base.projections]
        for p in known:
            found.whole[p.layer] = (tensor, p.part)
        if not known:
            _leave_out(name, (tensor,), weights, base, found)


def _projections(
    name: str, shape: tuple[int, ...], weights: Checkpoint, tensor: str, *, factored: bool
) -> Iterator[Projection]:
    """The projections in a module by its name; `shape` is that of its left factor, or of the whole weight."""
    site = naming_of(weights.config)[1](name)
    if site is None or len(shape) < 2:
        return
    config = text_config(weights.config)
    try:
        yield from site.rows(shape[0], config) if factored else site.projections(shape, config)
    except ValueError as error:
        fix = "give the base that the adapter was trained on"
        raise CheckpointError(str(error), where=weights.path, tensor=tensor, fix=fix) from error


def _leave_out(name: str, tensors: tuple[str, ...], weights: Checkpoint, base: Checkpoint, found: _Found) -> None:
    """A module that holds no projection: told, or a stranger where the base does not have it at all."""
    why = why_left_out(name)
    # Tied weights are stored under one of their names, so that a head may not be in the base's file.
    if why in ("head", "embedding") or any(known in base.tensors for known in (name, *other_names(name))):
        found.left_out += [LeftOut(tensor, weights.info(tensor).shape, why) for tensor in tensors]
    else:
        found.strangers.append(name.removesuffix(".weight"))
