"""Block, family and projections of a tensor, from its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from geodiag.checkpoints.architectures import ARCHITECTURES, FALLBACK, LEFT_OUT, PREFIXES, TOWERS, Module
from geodiag.checkpoints.layers import MatrixPart

_CANONICAL = "model.layers."
_EXPERT = re.compile(r"\.experts\.([0-9]{1,6})\.")


@dataclass(frozen=True)
class Projection:
    """One projection in a stored tensor."""

    layer: str
    """The layer's canonical name, the same however the checkpoint was saved: `model.layers.0.mlp.up_proj`."""
    block: int
    """The number of its block, from 0."""
    family: str
    """Its projection family."""
    part: MatrixPart
    """Which part of the tensor it is."""


@dataclass(frozen=True)
class Site:
    """Place of a tensor with projections in its model, from its name alone."""

    block: int
    """The number of its block, from 0."""
    module: Module
    """The projections in it."""
    stem: str
    """Canonical name of its projections without the family; without the expert's number where it stacks experts."""

    def projections(self, shape: tuple[int, ...], config: Mapping[str, Any]) -> Iterator[Projection]:
        """The projections in the tensor; none where its shape is not that of its module.

        Args:
            shape: the tensor's shape as stored.
            config: the `config.json` of the language model.

        Raises:
            ValueError: the rows cannot be shared as the configuration says.
        """
        if len(shape) != (3 if self.module.stacked else 2) or 0 in shape:
            return
        transposed = self._transposed(shape, config)
        d_out = shape[-1] if transposed else shape[-2]
        if not self.module.stacked:
            yield from self._of(None, self.stem, d_out, config, transposed=transposed)
        for expert in range(shape[0] if self.module.stacked else 0):
            yield from self._of(expert, f"{self.stem}{expert}.", d_out, config, transposed=transposed)

    def rows(self, d_out: int, config: Mapping[str, Any]) -> Iterator[Projection]:
        """The projections in a (d_out, d_in) matrix, however the weight itself is stored.

        Raises:
            ValueError: as `projections`.
        """
        yield from self._of(None, self.stem, d_out, config, transposed=False)

    def _transposed(self, shape: tuple[int, ...], config: Mapping[str, Any]) -> bool:
        """Whether the tensor is stored (d_in, d_out).

        Releases of transformers differ in how they stack experts. Their width on the model's side is the hidden
        size, and where only one way of reading the shape gives that, it is the right one.
        """
        if self.module.stacked:
            inner = -2 if self.module.families == ("down_proj",) else -1
            as_stored, flipped = (shape[k] == config.get("hidden_size") for k in (inner, -3 - inner))
            if as_stored != flipped:
                return flipped
        return self.module.transposed

    def _of(
        self, expert: int | None, stem: str, d_out: int, config: Mapping[str, Any], *, transposed: bool
    ) -> Iterator[Projection]:
        families = self.module.families
        if self.module.sharing is None:
            yield Projection(stem + families[0], self.block, families[0], MatrixPart(expert, transposed))
            return
        for family, (groups, start, stop) in zip(families, self.module.sharing(d_out, config), strict=True):
            part = MatrixPart(expert, transposed, groups, (start, stop))
            yield Projection(stem + family, self.block, family, part)


SiteOf = Callable[[str], Site | None]
"""The site of a tensor by its name; None when it holds no projection."""


def naming_of(config: Mapping[str, Any]) -> tuple[str, SiteOf]:
    """Find how a model names its tensors.

    Args:
        config: its `config.json`.

    Returns:
        The `model_type` whose table is used ("any" when none fits and names are matched by pattern), and the
        function from a tensor's name to its site.
    """
    for part in (config, text_config(config)):
        model_type = part.get("model_type")
        if isinstance(model_type, str) and model_type in ARCHITECTURES:
            return model_type, partial(_by_table, model_type=model_type)
    return "any", _by_pattern


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a `config.json` that is about the language model: all of it where no part is set apart."""
    for key in ("text_config", "llm_config", "language_config"):
        if isinstance(config.get(key), Mapping):
            part: Mapping[str, Any] = config[key]
            return part
    return config


def why_left_out(name: str) -> str:
    """Why a tensor that is no projection is not compared: "norm", "bias", ..., or "unknown"."""
    for why, pattern in LEFT_OUT.items():
        if pattern.search(name):
            return why
    return "unknown"


def other_names(tensor: str) -> tuple[str, ...]:
    """The names that the same tensor can have in a checkpoint saved with another prefix."""
    names: dict[str, None] = {}
    for prefixes in dict.fromkeys(architecture.prefixes for architecture in ARCHITECTURES.values()):
        prefix = next((prefix for prefix in prefixes if tensor.startswith(prefix)), None)
        if prefix is not None:
            names |= dict.fromkeys(other + tensor.removeprefix(prefix) for other in prefixes if other != prefix)
    return tuple(names)


def _by_table(name: str, *, model_type: str) -> Site | None:
    pattern, modules = _table(model_type)
    match = pattern.fullmatch(name)
    module = modules.get(_EXPERT.sub(".experts.{e}.", match["inside"], count=1)) if match else None
    if match is None or module is None:
        return None
    block = int(match["block"])
    return Site(block, module, f"{_CANONICAL}{block}.{_module_name(match['inside'], module)}")


@cache
def _table(model_type: str) -> tuple[re.Pattern[str], Mapping[str, Module]]:
    """The pattern for names of tensors in a block, and the module of each name inside a block."""
    architecture = ARCHITECTURES[model_type]
    prefixes = "|".join(map(re.escape, architecture.prefixes))
    pattern = re.compile(rf"(?:{prefixes})(?P<block>[0-9]{{1,6}})\.(?P<inside>.+)")
    return pattern, {name + module.ending: module for name, module in architecture.modules.items()}


def _module_name(inside: str, module: Module) -> str:
    """The part of a canonical name between block and family, such as `mlp.experts.3.`, however it is saved."""
    if module.families[0][0] in "qkvo":
        return "self_attn."
    expert = _EXPERT.search(inside)
    if expert or module.stacked:
        return f"mlp.experts.{int(expert[1])}." if expert else "mlp.experts."
    shared = re.search(r"\.(shared_experts?)\.|^(shared_mlp)\.", inside)
    return f"mlp.{shared[1] or 'shared_expert'}." if shared else "mlp."


def _by_pattern(name: str) -> Site | None:
    match = FALLBACK.fullmatch(name)
    if match is None or TOWERS.search(name):
        return None
    stem = match["stem"]
    prefix = next((p for p in PREFIXES if stem.startswith(p)), None)
    if prefix is not None:
        stem = _CANONICAL + stem.removeprefix(prefix)
    return Site(int(match["block"]), Module((match["family"],)), f"{stem}.")
