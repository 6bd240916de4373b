"""Geometry of a layer as rows of the store."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geodiag.checkpoints import Layer
from geodiag.common.schema import defined
from geodiag.extraction.measurements.geometry.layer import LayerGeometry
from geodiag.extraction.measurements.measurement import Row
from geodiag.extraction.plan import Plan
from geodiag.geometry import stable_rank


def layer_rows(layer: Layer, plan: Plan, found: LayerGeometry) -> dict[str, list[Row]]:
    """The rows of one layer, by table, without the run column."""
    place = {"layer": layer.name, "block": layer.block, "family": layer.family}
    shape = {"d_out": layer.d_out, "d_in": layer.d_in, "dtype": layer.dtype}
    return {
        "layers": [place | shape],
        "updates": _update_rows(place, plan, found),
        "pairs": _pair_rows(place, plan, found),
        "unions": [
            {"step": step, "layer": layer.name, "active_rank": active, "state_rank": state}
            for step, (active, state) in enumerate(found.union_ranks, start=plan.stored_steps + 1)
        ],
    }


def _update_rows(place: Row, plan: Plan, found: LayerGeometry) -> list[Row]:
    spectrum = found.spectrum
    rank, kept = spectrum.rank.tolist(), spectrum.energy_kept.tolist()
    norms = torch.tensor([found.measures[i].norm for i in plan.new], dtype=torch.float64)
    stable_ranks = stable_rank(norms, spectrum.s_1.cpu()[list(plan.new)]).tolist()
    rows: list[Row] = []
    for i, stable in zip(plan.new, stable_ranks, strict=True):
        update, m = plan.updates[i], found.measures[i]
        rows.append(
            {
                "step": update.step,
                "object": update.object,
                **place,
                "norm": m.norm,
                "increment_norm": m.increment_norm,
                "rank": rank[i],
                "energy_kept": defined(kept[i]),
                "stable_rank": defined(stable),
                "changed_share": m.changed_share,
                "rounding_floor": m.rounding_floor,
                "singular_values": spectrum.s[i, : rank[i]].tolist(),
            }
        )
    return rows


def _pair_rows(place: Row, plan: Plan, found: LayerGeometry) -> list[Row]:
    g = found.pairs
    columns = {
        "sar_ij": _column(found.sar[:, 0]),
        "sar_ji": _column(found.sar[:, 1]),
        "sar": _column(found.sar.mean(-1)),
        "conflict": _column(g.conflict),
        "bures_sq": _column(g.bures_sq),
        "trace_i": _column(g.trace_i),
        "trace_j": _column(g.trace_j),
        "union_rank": g.union_rank.tolist(),
        "lambda_share": _column(g.lambda_share),
    }
    names = list(columns)
    rows: list[Row] = []
    for pair, values in zip(plan.pairs, zip(*columns.values(), strict=True), strict=True):
        i, j = plan.updates[pair.i], plan.updates[pair.j]
        key = {"step": pair.step, "kind": pair.kind, "object_i": i.object, "object_j": j.object}
        rows.append({**key, **place, **dict(zip(names, values, strict=True))})
    return rows


def _column(values: Tensor) -> Sequence[float | None]:
    return [defined(v) for v in values.tolist()]
