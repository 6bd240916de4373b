"""A whole run against the definitions by brute force: every pair, every layer, every step signal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.signals import step_signals
from geodiag.store import StoreReader
from tests import oracle, synthetic
from tests.jobs.extracting import extract_all

STEPS, RANK, LAM = 4, 8, 1e-6


def updates_of(folder, name, *, increments):
    """D_1..D_T and S_1..S_T of one layer, from the stored numbers, in float64."""
    read = [
        synthetic.read_weights(folder / p)[f"{name}.weight"].numpy()
        for p in ("base", *(f"states/s{t}" for t in range(1, STEPS + 1)))
    ]
    states = [w - read[0] for w in read[1:]]
    if increments:
        return [b - a for a, b in itertools.pairwise(read)], states
    experts = [
        synthetic.read_weights(folder / f"experts/t{t}")[f"{name}.weight"].numpy() - read[0]
        for t in range(1, STEPS + 1)
    ]
    return experts, states


SINE = (32 * 2.0**-23) ** 0.5  # directions closer than this count as one


def expected(folder, *, increments, memory):
    """Per-layer pair values and step signals by the definitions, loops and all."""

    def union(members):  # two unit columns at that angle have a singular value of sine / sqrt(2)
        return oracle.union_basis([m[1] for m in members], tol=SINE / 2**0.5)

    pairs, per_step = {}, [{} for _ in range(STEPS)]
    for name in synthetic.layer_names(1):
        tasks, states = updates_of(folder, name, increments=increments)
        T = [(D, *oracle.truncated_spectrum(D, rank=RANK)) for D in tasks]
        S = [(D, *oracle.truncated_spectrum(D, rank=RANK)) for D in states]
        for t in range(1, STEPS + 1):
            active = [(f"task:task_{n + 1}", T[n]) for n in range(t)]
            if memory == "anchor":
                active = ([("state", S[t - 2])] if t > 1 else []) + active[-1:]
            elif memory != "all":
                active = active[-memory:]
            state = ("state", S[t - 1])
            everything = union([m[1] for m in active] + [state[1]])
            among = union([m[1] for m in active])
            signals = per_step[t - 1]
            for (i, a), (j, b) in itertools.combinations(active, 2):
                value = pair_values(a, b, union([a, b]))
                pairs[("active", t, i, j, name)] = value
                add(signals, active_sar=value["sar"], active_conflict=value["conflict"])
                add(signals, global_active_conflict=oracle.conflict(a[1:], b[1:], among))
                add(signals, global_state_conflict=oracle.conflict(a[1:], b[1:], everything))
            for j, b in active:
                value = pair_values(state[1], b, union([state[1], b]))
                pairs[("state", t, "state", j, name)] = value
                add(signals, state_sar=value["sar"], state_conflict=value["conflict"])
                add(signals, global_state_conflict=oracle.conflict(state[1][1:], b[1:], everything))
            before = states[t - 2] if t > 1 else 0
            add(signals, increment=np.linalg.norm(states[t - 1] - before), state=np.linalg.norm(states[t - 1]))
    return pairs, [summary(signals) for signals in per_step]


def pair_values(a, b, Q):
    forth, back = oracle.sar(a[0], b[1]), oracle.sar(b[0], a[1])
    A, B = oracle.covariance(*a[1:], Q), oracle.covariance(*b[1:], Q)
    return {
        "sar_ij": forth,
        "sar_ji": back,
        "sar": (forth + back) / 2,
        "conflict": oracle.conflict(a[1:], b[1:], Q),
        "bures_sq": oracle.bures_sq(A, B),
        "trace_i": np.trace(A),
        "trace_j": np.trace(B),
        "union_rank": Q.shape[1],
    }


def add(signals, **values):
    for name, value in values.items():
        signals.setdefault(name, []).append(value)


def summary(signals):
    found = {name: np.mean(v) for name, v in signals.items() if name not in ("increment", "state")}
    found["update_norm"] = np.sqrt(np.sum(np.square(signals["increment"])))
    found["update_norm_sum"] = np.sum(signals["increment"])
    found["state_norm"] = np.sqrt(np.sum(np.square(signals["state"])))
    found["state_norm_sum"] = np.sum(signals["state"])
    if "active_conflict" in found:
        found["state_gap"] = found["state_conflict"] - found["active_conflict"]
        found["global_gap"] = found["global_state_conflict"] - found["global_active_conflict"]
    else:
        del found["global_state_conflict"]  # only defined beside active pairs
    return found


def extract(folder, tmp_path, **settings):
    extract_all(folder, tmp_path / "store", make_settings(rank=RANK, **settings), device="cpu", strict=True)
    return StoreReader(tmp_path / "store")


VARIANTS = [
    ("experts", "all", torch.float32, 1),
    ("experts", "all", torch.bfloat16, 3),
    ("increments", "all", torch.float32, 3),
    ("increments", "all", torch.bfloat16, 1),
    ("experts", 2, torch.float32, 1),
    ("experts", "anchor", torch.float32, 1),
    ("increments", "anchor", torch.float16, 1),
    ("experts", "all", torch.float64, 1),
]


@pytest.mark.parametrize(("updates", "memory", "dtype", "shards"), VARIANTS, ids=str)
@pytest.mark.parametrize(("spectrum", "tolerance"), [("exact", 1e-6), ("krylov", 1e-3)])
def test_run_equals_the_definitions(tmp_path, updates, memory, dtype, shards, spectrum, tolerance):
    folder = synthetic.write_run(
        tmp_path / "run", steps=STEPS, dtype=dtype, shards=shards, updates=updates, memory=memory
    )
    store = extract(folder, tmp_path, spectrum=spectrum)
    pairs, steps = expected(folder, increments=updates == "increments", memory=memory)
    rows = store.scan("pairs").collect().to_dicts()
    assert len(rows) == len({*pairs}) - repeated(pairs, memory)
    for row in rows:
        want = pairs[(row["kind"], row["step"], row["object_i"], row["object_j"], row["layer"])]
        for column, value in want.items():
            assert row[column] == pytest.approx(value, rel=tolerance, abs=tolerance), (column, row)
    for row, want in zip(step_signals(store).sort("step").to_dicts(), steps, strict=True):
        for column, value in want.items():
            assert row[column] == pytest.approx(value, rel=tolerance, abs=tolerance), (row["step"], column)
        for column in ("active_sar", "active_conflict", "global_active_conflict", "state_gap", "global_gap"):
            assert (row[column] is None) == (column not in want)


def repeated(pairs, memory):
    """Task pairs that the loops met at later steps again, which the store holds once."""
    if memory == "anchor":
        return 0
    seen = [(i, j, layer) for kind, _, i, j, layer in pairs if kind == "active"]
    return len(seen) - len(set(seen))


@pytest.mark.parametrize("updates", ["experts", "increments"])
def test_a_small_memory_changes_nothing(tmp_path, updates):
    """Reading updates in blocks, and a second time for SAR, gives the same rows to the last digit of a product."""
    folder = synthetic.write_run(tmp_path / "run", steps=STEPS, updates=updates)
    stores = []
    for n, memory in enumerate((2**30, 3 * 8 * 48 * 48, 1)):
        path = tmp_path / f"store{n}"
        extract_all(folder, path, make_settings(rank=RANK), device="cpu", memory=memory, strict=True)
        stores.append(StoreReader(path).scan("pairs").collect())
    for other in stores[1:]:
        for column in ("sar_ij", "sar_ji", "conflict", "bures_sq"):
            np.testing.assert_allclose(other[column], stores[0][column], rtol=1e-5)


def test_each_checkpoint_is_read_once_a_layer(tmp_path, monkeypatch):
    """The base, the experts and the states: 1 + T + T reads a layer with experts, 1 + T with increments."""
    from geodiag.checkpoints import Checkpoint

    reads = []

    def counted(checkpoint, layer, **options):
        reads.append((checkpoint.path, layer.name))
        return original(checkpoint, layer)

    original = Checkpoint.read_layer
    monkeypatch.setattr(Checkpoint, "read_layer", counted)
    for updates, checkpoints in (("experts", 1 + 2 * STEPS), ("increments", 1 + STEPS)):
        reads.clear()
        folder = synthetic.write_run(tmp_path / updates, steps=STEPS, updates=updates)
        extract_all(folder, tmp_path / f"store-{updates}", make_settings(), device="cpu", strict=True)
        assert len(reads) == len(set(reads)) == checkpoints * len(synthetic.SHAPES)


def test_a_zero_update_has_no_geometry_and_is_counted(tmp_path):
    """A step that changed nothing: its pairs are null, never 0 or 1, and the others are as without it."""
    folder = synthetic.write_run(tmp_path / "run", steps=3)
    unchanged = folder / "experts" / "t2" / "model.safetensors"
    unchanged.write_bytes((folder / "base" / "model.safetensors").read_bytes())
    store = extract(folder, tmp_path)
    rows = store.scan("pairs").collect().to_dicts()
    touched = [r for r in rows if "task:task_2" in (r["object_i"], r["object_j"])]
    assert touched
    for row in rows:
        empty = row in touched
        assert all((row[c] is None) == empty for c in ("sar", "sar_ij", "sar_ji", "conflict", "bures_sq"))
    update = [r for r in store.scan("updates").collect().to_dicts() if r["object"] == "task:task_2"]
    assert {(r["norm"], r["rank"], r["changed_share"]) for r in update} == {(0.0, 0, 0.0)}
    assert {r["stable_rank"] for r in update} == {r["energy_kept"] for r in update} == {None}


@pytest.mark.gpu
@pytest.mark.parametrize(("updates", "dtype"), [("experts", torch.bfloat16), ("increments", torch.float32)], ids=str)
def test_a_gpu_gives_the_rows_of_the_cpu(tmp_path, updates, dtype):
    folder = synthetic.write_run(tmp_path / "run", steps=STEPS, updates=updates, dtype=dtype)
    stores = []
    for device in ("cpu", "cuda"):
        extract_all(folder, tmp_path / device, make_settings(rank=RANK), device=device, strict=True)
        stores.append(StoreReader(tmp_path / device).scan("pairs").collect())
    for column in ("sar_ij", "sar_ji", "conflict", "bures_sq"):
        np.testing.assert_allclose(stores[1][column], stores[0][column], rtol=1e-4, atol=1e-7)
