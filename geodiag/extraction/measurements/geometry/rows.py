"""Geometry of a layer as rows of the store."""

from __future__ import annotations

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
    unions: list[Row] = []
    for step, (active, state) in enumerate(found.union_ranks, start=plan.stored_steps + 1):
        unions.append({"step": step, "layer": layer.name, "active_rank": active, "state_rank": state})
    return {
        "layers": [place | shape],
        "updates": _update_rows(place, plan, found),
        "pairs": _pair_rows(place, plan, found),
        "unions": unions,
    }


def _update_rows(place: Row, plan: Plan, found: LayerGeometry) -> list[Row]:
    spectrum = found.spectrum
    rank, kept = spectrum.rank.tolist(), spectrum.energy_kept.tolist()
    stable_ranks = stable_rank(found.norm, spectrum.s_1).tolist()
    rows: list[Row] = []
    for i in plan.new:
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
                "stable_rank": defined(stable_ranks[i]),
                "changed_share": m.changed_share,
                "rounding_floor": m.rounding_floor,
                "singular_values": spectrum.s[i, : rank[i]].tolist(),
            }
        )
    return rows


def _pair_rows(place: Row, plan: Plan, found: LayerGeometry) -> list[Row]:
    g = found.pairs
    columns = {
        "sar_ij": found.sar[:, 0].tolist(),
        "sar_ji": found.sar[:, 1].tolist(),
        "sar": found.sar.mean(-1).tolist(),
        "conflict": g.conflict.tolist(),
        "bures_sq": g.bures_sq.tolist(),
        "trace_i": g.trace_i.tolist(),
        "trace_j": g.trace_j.tolist(),
        "lambda_share": g.lambda_share.tolist(),
    }
    union_ranks = g.union_rank.tolist()
    rows: list[Row] = []
    for n, pair in enumerate(plan.pairs):
        i, j = plan.updates[pair.i], plan.updates[pair.j]
        row = {"step": pair.step, "kind": pair.kind, "object_i": i.object, "object_j": j.object, **place}
        row["union_rank"] = union_ranks[n]
        for name, values in columns.items():
            row[name] = defined(values[n])
        rows.append(row)
    return rows
