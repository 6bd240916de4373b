"""Which tensors of a checkpoint are target layers, which are left out, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from geodiag.checkpoints.checkpoint import Checkpoint
from geodiag.checkpoints.layers import Layer, LayerTable, LeftOut
from geodiag.checkpoints.tensor_names import Projection, Site, naming_of, text_config, why_left_out
from geodiag.checkpoints.unsupported import check_readable, quantisation
from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted
from geodiag.errors import CheckpointError, SettingsError


def match_layers(
    checkpoint: Checkpoint, *, families: Sequence[str] | None = None, pattern: str | None = None
) -> LayerTable:
    """Find the target layers of a checkpoint, from headers alone.

    Args:
        checkpoint: the checkpoint.
        families: the families to take; all of `FAMILIES` by default.
        pattern: a regular expression that is searched for in the canonical name of each layer.

    Raises:
        SettingsError: an unknown family, a broken pattern, or no layer that fits both.
        CheckpointError: no projection was found, two tensors are one layer, or a layer is quantised.
    """
    asked, fits = _families(families), _pattern(pattern)
    naming, site_of = naming_of(checkpoint.config)
    layers: dict[str, Layer] = {}
    left_out: list[LeftOut] = []
    for name, (info, _) in checkpoint.tensors.items():
        site = site_of(name)
        if site is None:
            left_out.append(LeftOut(name, info.shape, why_left_out(name)))
            continue
        taken, reasons = False, []
        for projection in _projections(checkpoint, name, site):
            if projection.family not in asked:
                reasons.append("family")
            elif not fits.search(projection.layer):
                reasons.append("pattern")
            else:
                _add(layers, checkpoint, name, projection)
                taken = True
        if not taken:
            left_out.append(LeftOut(name, info.shape, reasons[0] if reasons else "shape"))
    if not layers:
        raise _nothing_found(checkpoint, naming, left_out, families=families, pattern=pattern)
    return LayerTable(tuple(sorted(layers.values(), key=_order)), tuple(left_out), naming)


def _projections(checkpoint: Checkpoint, tensor: str, site: Site) -> list[Projection]:
    try:
        return list(site.projections(checkpoint.tensors[tensor][0].shape, text_config(checkpoint.config)))
    except ValueError as error:
        fix = "give the model's own config.json beside its weights"
        raise CheckpointError(str(error), where=checkpoint.path, tensor=tensor, fix=fix) from error


def _families(families: Sequence[str] | None) -> frozenset[str]:
    if families is None:
        return frozenset(FAMILIES)
    asked = [families] if isinstance(families, str) else list(families)
    fix = f"known families: {', '.join(FAMILIES)}"
    if not asked:
        raise SettingsError("no family is asked for", fix=fix)
    for family in asked:
        if family not in FAMILIES:
            raise SettingsError(f"unknown family {family!r}", fix=fix)
    return frozenset(asked)


def _pattern(pattern: str | None) -> re.Pattern[str]:
    try:
        return re.compile(pattern or "")
    except (re.error, OverflowError, RecursionError) as error:
        message = f"the layer pattern {pattern!r} is not a regular expression ({error})"
        raise SettingsError(message, fix=r"for example 'layers\.[0-3]\.'") from error


def _add(layers: dict[str, Layer], checkpoint: Checkpoint, tensor: str, projection: Projection) -> None:
    """Add the layer of a projection, unless it is quantised or another tensor is that layer."""
    info, _ = checkpoint.tensors[tensor]
    check_readable(info, where=checkpoint.path, tensor=tensor, method=quantisation(checkpoint.config))
    name, part = projection.layer, projection.part
    if name in layers:
        message = f"the same layer as tensor {layers[name].tensor}"
        raise CheckpointError(message, where=checkpoint.path, tensor=tensor, fix="keep one of them")
    d_out, d_in = part.shape(info.shape)
    layers[name] = Layer(name, projection.block, projection.family, d_out, d_in, info.dtype, tensor, part)


def _order(layer: Layer) -> tuple[int, int, int, str]:
    expert = re.search(r"\.experts\.(\d+)\.", layer.name)
    return layer.block, FAMILIES.index(layer.family), int(expert[1]) if expert else -1, layer.name


def _nothing_found(
    checkpoint: Checkpoint,
    naming: str,
    left_out: Sequence[LeftOut],
    *,
    families: Sequence[str] | None,
    pattern: str | None,
) -> SettingsError | CheckpointError:
    kept_out = [left.name for left in left_out if left.why in ("family", "pattern")]
    if kept_out:
        asked = [f"families {', '.join(sorted(_families(families)))}"] if families else []
        asked += [f"the pattern {pattern!r}"] if pattern else []
        message = f"no layer fits {' and '.join(asked)}"
        return SettingsError(message, where=checkpoint.path, fix=f"there are {_some(kept_out)}")
    method = quantisation(checkpoint.config)
    by = f" (quantised with {method})" if method else ""
    message = (
        f"no target layers among {counted(len(left_out), 'tensor')}{by}; tensors are {_some(_most_telling(left_out))}"
    )
    fix = f"names were looked for as in {naming}, such as model.layers.0.self_attn.q_proj.weight"
    return CheckpointError(message, where=checkpoint.path, fix=fix)


def _most_telling(left_out: Sequence[LeftOut]) -> list[str]:
    """Names that describe a checkpoint best, unknown matrices first."""
    ranked = sorted(left_out, key=lambda left: (left.why != "unknown", len(left.shape) != 2))
    return [left.name for left in ranked]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
