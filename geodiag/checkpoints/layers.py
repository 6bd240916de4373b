"""Target layers, the tensors left out, and row ranges of projections inside fused weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodiag.checkpoints.range_file import ITEM_BYTES
from geodiag.common.schema import FAMILIES
from geodiag.common.text import counted

if TYPE_CHECKING:
    import torch


RowRanges = tuple[int, int, int]
"""(groups, start, stop): rows start to stop of each of `groups` equal segments of a fused matrix."""

Sharing = Callable[[int, Mapping[str, Any]], tuple[RowRanges, ...]]
"""A function of (rows of the fused matrix, `config.json`) that gives the row ranges of its projections, in the order of
their families. Raises ValueError where the rows do not divide so; its message says why."""


def stretches(rows: int, _config: Mapping[str, Any], *, n: int) -> tuple[RowRanges, ...]:
    """Row ranges of n projections of equal size, one after the other."""
    size = _divided(rows, n, f"{n} projections")
    return tuple((1, k * size, (k + 1) * size) for k in range(n))


def alternating(rows: int, _config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of two projections that alternate row by row."""
    size = _divided(rows, 2, "2 projections")
    return (size, 0, 1), (size, 1, 2)


def queries_keys_values(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of all queries, then all keys, then all values; keys and values may have fewer heads than queries."""
    heads, shared = head_counts(config)
    d = _divided(rows, heads + 2 * shared, f"{heads} query heads and {shared} key-value heads")
    q, kv = heads * d, shared * d
    return (1, 0, q), (1, q, q + kv), (1, q + kv, q + 2 * kv)


def head_by_head(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges where each head has its query, key and value next to each other."""
    heads, _ = head_counts(config)
    d = _divided(rows, 3 * heads, f"{heads} heads")
    return (heads, 0, d), (heads, d, 2 * d), (heads, 2 * d, 3 * d)


def group_by_group(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges where each key-value head follows the queries that use it."""
    heads, groups = head_counts(config)
    queries = _divided(heads, groups, f"{groups} key-value heads")
    d = _divided(rows, groups * (queries + 2), f"{heads} query heads and {groups} key-value heads")
    q = queries * d
    return (groups, 0, q), (groups, q, q + d), (groups, q + d, q + 2 * d)


def falcon_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of Falcon: grouped in its newer models, else one shared key and value, or head by head."""
    if config.get("new_decoder_architecture"):
        return group_by_group(rows, config)
    if config.get("multi_query", True):
        return queries_keys_values(rows, {**config, "num_kv_heads": 1})
    return head_by_head(rows, config)


def bigcode_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of GPT-BigCode: one shared key and value, or head by head."""
    if config.get("multi_query", True):
        return queries_keys_values(rows, {**config, "num_kv_heads": 1})
    return head_by_head(rows, config)


def chatglm_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of ChatGLM: with shared keys and values one after the other, else head by head."""
    return queries_keys_values(rows, config) if config.get("multi_query_attention") else head_by_head(rows, config)


def codegen_attention(rows: int, _config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Row ranges of CodeGen: four segments, each of queries, then values, then keys."""
    d = _divided(rows, 12, "4 stretches of 3 projections")
    return (4, 0, d), (4, 2 * d, 3 * d), (4, d, 2 * d)


_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_SHARED_HEADS = ("num_kv_heads", "num_key_value_heads", "multi_query_group_num", "n_head_kv")


def head_counts(config: Mapping[str, Any]) -> tuple[int, int]:
    """Number of query heads and of key-value heads, from a model's `config.json`.

    Raises:
        ValueError: it has no number of heads.
    """
    heads = next((config[key] for key in _HEADS if isinstance(config.get(key), int)), None)
    if not heads:
        raise ValueError(f"config.json names no number of heads ({', '.join(_HEADS[:2])})")
    return heads, next((config[key] for key in _SHARED_HEADS if isinstance(config.get(key), int)), heads)


def _divided(rows: int, parts: int, meaning: str) -> int:
    if parts <= 0 or rows % parts:
        raise ValueError(f"{rows} rows do not divide into {meaning}")
    return rows // parts


@dataclass(frozen=True)
class MatrixPart:
    """The part of a stored tensor that is one layer. Selections apply in the order of the fields."""

    expert: int | None = None
    """Index into the first dimension of a tensor that stacks experts; None for a matrix."""
    transposed: bool = False
    """Whether the matrix is stored (d_in, d_out)."""
    groups: int = 1
    """Number of equal segments of rows, such as one a head."""
    rows: tuple[int, int] | None = None
    """Row range (start, stop) of this projection inside each segment of a fused matrix; None is every row."""

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of this part of a tensor of shape `stored`; a selection that does not fit leaves it unchanged."""
        if self.expert is not None:
            stored = stored[1:] if stored and self.expert < stored[0] else stored
        if self.transposed:
            stored = stored[::-1]
        if self.rows is not None and stored and stored[0] % self.groups == 0:
            start, stop, _ = slice(*self.rows).indices(stored[0] // self.groups)
            stored = (self.groups * max(0, stop - start), *stored[1:])
        return stored

    def take(self, tensor: torch.Tensor) -> torch.Tensor:
        """This part of a tensor, (d_out, d_in); a view, except for rows of several segments."""
        tensor = tensor if self.expert is None else tensor[self.expert]
        return self.take_rows(tensor.T if self.transposed else tensor)

    def take_rows(self, matrix: torch.Tensor) -> torch.Tensor:
        """The rows of this part in a matrix that is neither stacked nor transposed, such as a left factor."""
        if self.rows is None:
            return matrix
        if self.groups == 1:
            return matrix[slice(*self.rows)]
        return matrix.reshape(self.groups, -1, *matrix.shape[1:])[:, slice(*self.rows)].flatten(0, 1)


WHOLE = MatrixPart()
"""A whole tensor, stored (d_out, d_in)."""


@dataclass(frozen=True)
class Layer:
    """A target layer: one matrix of a block in which updates are compared."""

    name: str
    """Its canonical name, the same in every checkpoint of a model: `model.layers.0.self_attn.q_proj`."""
    block: int
    """The number of its block, from 0."""
    family: str
    """Its projection family, one of `FAMILIES`."""
    d_out: int
    """Rows, the width of its output."""
    d_in: int
    """Columns, the width of its input."""
    dtype: str
    """The stored dtype, such as "bfloat16"."""
    tensor: str
    """The name of the tensor that contains it."""
    part: MatrixPart = WHOLE
    """Its part of that tensor."""

    @property
    def stored_bytes(self) -> int:
        """Bytes this layer takes in a checkpoint of its stored dtype."""
        return self.d_out * self.d_in * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class LeftOut:
    """A tensor that is not a target layer, or was not asked for."""

    name: str
    """Its name as stored."""
    shape: tuple[int, ...]
    """Its shape as stored."""
    why: str
    """Its kind ("embedding", "norm", "bias", "router", "expert", "vision", "head", "buffer", "fused", "unknown"), or
    why a projection is not taken ("shape": no matrix; "family", "pattern": not asked for)."""


@dataclass(frozen=True)
class LayerTable:
    """The target layers of a checkpoint."""

    layers: tuple[Layer, ...]
    """By block, then in the order of `FAMILIES`."""
    left_out: tuple[LeftOut, ...]
    """Every other tensor, in the checkpoint's order."""
    naming: str
    """The `model_type` whose table matched the names, or "any" where a pattern did."""

    @property
    def left_out_counts(self) -> dict[str, int]:
        """Number of tensors left out for each reason, the most frequent first."""
        return dict(Counter(left.why for left in self.left_out).most_common())

    @property
    def family_counts(self) -> dict[str, int]:
        """Number of layers of each family, in the order of `FAMILIES`."""
        counts = Counter(layer.family for layer in self.layers)
        return {family: counts[family] for family in FAMILIES if family in counts}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on families of other sizes in other blocks, and on fused weights that were not split."""
        names: dict[str, list[str]] = {}
        for left in self.left_out:
            names.setdefault(left.why, []).append(left.name)
        lines: list[str] = []
        if "pattern" not in names:  # with one, blocks differ because they were asked to
            for counts, families in _unevenness(self.layers).items():
                lines.append(f"{', '.join(families)}: different counts in different blocks, {counts}")
        if "fused" in names:
            some = f"{len(names['fused'])} fused weights, such as {names['fused'][0]}"
            lines.append(f"{some}, are left out: how their rows are shared is not known for model type {self.naming}")
        return tuple(lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """Sentences on the layers matched by family, the tensors left out by reason, and the warnings."""
        blocks, families = {layer.block for layer in self.layers}, {layer.family for layer in self.layers}
        reasons = ", ".join(f"{count} {why}" for why, count in self.left_out_counts.items())
        return (
            f"{counted(len(self.layers), 'layer')} in {counted(len(blocks), 'block')} and {len(families)} families",
            f"left out {counted(len(self.left_out), 'tensor')}" + (f": {reasons}" if reasons else ""),
            f"matched {', '.join(f'{count} {family}' for family, count in self.family_counts.items())}",
            *(f"warning: {text}" for text in self.warnings),
        )

    def __str__(self) -> str:
        """The lines, joined by semicolons."""
        return "; ".join(self.lines)


def _unevenness(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Counts that differ between blocks, such as `64 in 26 blocks, 1 in block 0` -> the families with these counts."""
    counts: dict[str, Counter[int]] = {}
    for layer in layers:
        counts.setdefault(layer.family, Counter())[layer.block] += 1
    blocks = sorted(set[int]().union(*counts.values()))
    names: dict[str, list[str]] = {}
    for family, by_block in counts.items():
        by_count: dict[int, list[int]] = {}
        for block in blocks:
            by_count.setdefault(by_block[block], []).append(block)
        if len(by_count) > 1:
            most_first = sorted(by_count.items(), key=lambda item: -len(item[1]))
            places = ", ".join(f"{count} in {_blocks(where)}" for count, where in most_first)
            names.setdefault(places, []).append(family)
    return names


def _blocks(blocks: Sequence[int]) -> str:
    if len(blocks) == 1:
        return f"block {blocks[0]}"
    return f"{len(blocks)} blocks" if len(blocks) > 4 else f"blocks {', '.join(map(str, blocks))}"
