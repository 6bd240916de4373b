"""How many layers' gradients fit in memory at once, and so how often a state's probes must be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geodiag.checkpoints import Layer
from geodiag.errors import SettingsError
from geodiag.geometry import gram_scratch_bytes


def held_bytes(layers: Sequence[Layer], tasks: int, stored: Mapping[str, int]) -> int:
    """The most bytes that the gradients of `tasks` tasks take for some layers at any moment of a pass.

    Held are one float32 gradient a task and the second half of the task in hand; beside them, one tensor's new
    gradient on its way in, or the scratch of one layer's Gram matrix.

    Args:
        layers: those of the pass.
        tasks: how many tasks there are.
        stored: the entries of each tensor that holds a layer, which may hold others too.
    """
    sizes = [layer.d_out * layer.d_in for layer in layers]
    incoming = max(4 * stored[layer.tensor] for layer in layers)
    scratch = max(gram_scratch_bytes(max(2, tasks), n) for n in sizes)
    return 4 * (tasks + 1) * sum(sizes) + max(incoming, scratch)


def split_layers(
    layers: Sequence[Layer], *, tasks: int, stored: Mapping[str, int], budget: int
) -> tuple[tuple[Layer, ...], ...]:
    """Neighbouring layers, grouped so that each group's gradients fit in the budget.

    Filled from the lowest layer up. That gives the fewest groups of neighbours, and each group's lowest layer,
    at which its backward passes stop, lies as high as it can.

    Args:
        layers: in any order.
        tasks: how many tasks' gradients are held.
        stored: the entries of each tensor that holds a layer.
        budget: bytes.

    Returns:
        The groups from the lowest up.

    Raises:
        SettingsError: not even one layer fits.
    """
    groups: list[list[Layer]] = []
    for layer in sorted(layers, key=lambda layer: layer.block):
        need = held_bytes([layer], tasks, stored)
        if need > budget:
            what = f"{bytes_text(budget)} cannot hold {tasks} tasks' gradients of layer {layer.name}"
            raise SettingsError(what, where="memory budget", fix=f"give at least {bytes_text(need)}")
        if groups and held_bytes([*groups[-1], layer], tasks, stored) <= budget:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return tuple(map(tuple, groups))


def bytes_text(n: int) -> str:
    """Bytes for a person: `1.5 GiB`."""
    size, units = float(n), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.{0 if units[0] == 'B' or size >= 100 else 1}f} {units[0]}"
