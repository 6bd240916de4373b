"""Opening a LoRA adapter: its tensors matched with the layers of its base."""

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

    Modules are matched with the base's layers by their names in the model. The factors of a transposed module
    (`fan_in_fan_out` in PEFT) are those of the (d_out, d_in) matrix like any other's; the base's architecture says how
    the weight itself is stored.

    Args:
        path: as `find_adapter` takes it.
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
    matches = _Matches(list(tensors.left_out))
    _place_factors(tensors, weights, base, matches)
    _place_whole(tensors, weights, base, matches)
    if matches.unmatched:
        message = (
            f"{len(matches.unmatched)} of its modules are not in the base {base.path}, such as {matches.unmatched[0]}"
        )
        raise CheckpointError(message, where=folder, fix="give the base that the adapter was trained on")
    if not matches.factors and not matches.whole:
        message = f"changes no projection of the base {base.path}"
        raise CheckpointError(
            message, where=folder, fix="give an adapter of the base's attention or feed-forward weights"
        )
    return Adapter(folder, settings, weights, matches.factors, matches.whole, tuple(matches.left_out))


@dataclass
class _Matches:
    """Tensors of an adapter matched so far."""

    left_out: list[LeftOut]
    unmatched: list[str] = field(default_factory=list)
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


def _place_factors(tensors: AdapterTensors, weights: Checkpoint, base: Checkpoint, matches: _Matches) -> None:
    for module, sides in tensors.factors.items():
        shape = weights.info(sides["B"]).shape
        placed = _projections(f"{module}.weight", shape, weights, sides["B"], factored=True)
        targets = [p for p in placed if p.layer in base.projections]
        for p in targets:
            matches.factors[p.layer] = FactorNames(module, sides["B"], sides["A"], p.part)
        if not targets:
            _leave_out(f"{module}.weight", tuple(sides.values()), weights, base, matches)


def _place_whole(tensors: AdapterTensors, weights: Checkpoint, base: Checkpoint, matches: _Matches) -> None:
    for name, tensor in tensors.whole.items():
        shape = weights.info(tensor).shape
        placed = _projections(name, shape, weights, tensor, factored=False)
        targets = [p for p in placed if p.layer in base.projections]
        for p in targets:
            matches.whole[p.layer] = (tensor, p.part)
        if not targets:
            _leave_out(name, (tensor,), weights, base, matches)


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


def _leave_out(name: str, tensors: tuple[str, ...], weights: Checkpoint, base: Checkpoint, matches: _Matches) -> None:
    """List a module without projections as left out, or as unmatched where the base does not have it."""
    why = why_left_out(name)
    # Tied weights are stored under one of their names, so that a head may not be in the base's file.
    if why in ("head", "embedding") or any(other in base.tensors for other in (name, *other_names(name))):
        matches.left_out += [LeftOut(tensor, weights.info(tensor).shape, why) for tensor in tensors]
    else:
        matches.unmatched.append(name.removesuffix(".weight"))
