"""Row ranges of the projections inside a fused weight (query-key-value, gate-up)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

RowRanges = tuple[int, int, int]
"""Groups, start, stop: which rows of each of `groups` equal stretches."""

Sharing = Callable[[int, Mapping[str, Any]], tuple[RowRanges, ...]]
"""The rows of each projection; ValueError, with what does not fit, where there is no such division."""


def stretches(rows: int, _config: Mapping[str, Any], *, n: int) -> tuple[RowRanges, ...]:
    """n projections of one size, one after the other."""
    size = _divided(rows, n, f"{n} projections")
    return tuple((1, k * size, (k + 1) * size) for k in range(n))


def alternating(rows: int, _config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Two projections that take turns, row by row."""
    size = _divided(rows, 2, "2 projections")
    return (size, 0, 1), (size, 1, 2)


def queries_keys_values(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """All queries, then all keys, then all values, with fewer heads of keys and values than of queries."""
    heads, shared = head_counts(config)
    d = _divided(rows, heads + 2 * shared, f"{heads} query heads and {shared} key-value heads")
    q, kv = heads * d, shared * d
    return (1, 0, q), (1, q, q + kv), (1, q + kv, q + 2 * kv)


def head_by_head(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """For each head its query, its key and its value."""
    heads, _ = head_counts(config)
    d = _divided(rows, 3 * heads, f"{heads} heads")
    return (heads, 0, d), (heads, d, 2 * d), (heads, 2 * d, 3 * d)


def group_by_group(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """For each key-value head the queries that use it, then its key and its value."""
    heads, groups = head_counts(config)
    queries = _divided(heads, groups, f"{groups} key-value heads")
    d = _divided(rows, groups * (queries + 2), f"{heads} query heads and {groups} key-value heads")
    q = queries * d
    return (groups, 0, q), (groups, q, q + d), (groups, q + d, q + 2 * d)


def falcon_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """Falcon's three orders: grouped in its newer models, one shared key and value, or head by head."""
    if config.get("new_decoder_architecture"):
        return group_by_group(rows, config)
    if config.get("multi_query", True):
        return queries_keys_values(rows, {**config, "num_kv_heads": 1})
    return head_by_head(rows, config)


def bigcode_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """GPT-BigCode's two orders: one shared key and value, or head by head."""
    if config.get("multi_query", True):
        return queries_keys_values(rows, {**config, "num_kv_heads": 1})
    return head_by_head(rows, config)


def chatglm_attention(rows: int, config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """ChatGLM's two orders: with shared keys and values one after the other, else head by head."""
    return queries_keys_values(rows, config) if config.get("multi_query_attention") else head_by_head(rows, config)


def codegen_attention(rows: int, _config: Mapping[str, Any]) -> tuple[RowRanges, ...]:
    """CodeGen's order: in each of four stretches queries, then values, then keys."""
    d = _divided(rows, 12, "4 stretches of 3 projections")
    return (4, 0, d), (4, 2 * d, 3 * d), (4, d, 2 * d)


_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_SHARED_HEADS = ("num_kv_heads", "num_key_value_heads", "multi_query_group_num", "n_head_kv")


def head_counts(config: Mapping[str, Any]) -> tuple[int, int]:
    """Heads of queries, and of keys and values, by a model's configuration.

    Raises:
        ValueError: it does not say how many heads there are.
    """
    heads = next((config[key] for key in _HEADS if isinstance(config.get(key), int)), None)
    if not heads:
        raise ValueError(f"config.json names no number of heads ({', '.join(_HEADS[:2])})")
    return heads, next((config[key] for key in _SHARED_HEADS if isinstance(config.get(key), int)), heads)


def _divided(rows: int, parts: int, meaning: str) -> int:
    if parts <= 0 or rows % parts:
        raise ValueError(f"{rows} rows do not divide into {meaning}")
    return rows // parts
