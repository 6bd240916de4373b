"""Whole merges: what is in the states, and that extraction reads the run like any other."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

import geodiag
from geodiag.merging.rules.gcwm import GateSettings
from geodiag.runs import load_manifest
from geodiag.store import TABLES
from tests import oracle, synthetic
from tests.merging.runs import config_of, merge, states, updates, write_experts

ARITHMETIC = {"rule": {"name": "task_arithmetic", "scale": 0.5}}
QUICK = {"name": "gcwm", "wudi": {"iterations": 3}, "metric": {"iterations": 2}}
"""GCWM with a solver and a metric that stop early, where neither is looked at."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_experts(tmp_path_factory.mktemp("merging") / "given")


def is_layer(name):
    return "layers" in name


@pytest.mark.parametrize(
    ("memory", "shares"),
    [
        ("all", [(1, 0, 0), (1, 1, 0), (1, 1, 1)]),
        (2, [(1, 0, 0), (1, 1, 0), (0, 1, 1)]),
        (1, [(1, 0, 0), (0, 1, 0), (0, 0, 1)]),
        # S_t = .5 (S_(t-1) + D_t)
        ("anchor", [(1, 0, 0), (0.5, 1, 0), (0.25, 0.5, 1)]),
    ],
)
def test_states_hold_the_merge_of_the_active_updates(folder, memory, shares):
    base, D = updates(folder)
    out = merge(folder, out=f"arithmetic-{memory}", memory=memory, **ARITHMETIC)
    for state, share in zip(states(out), shares, strict=True):
        for name in base:
            change = sum(0.5 * s * d[name] for s, d in zip(share, D, strict=True)) if is_layer(name) else 0
            assert torch.allclose(state[name], base[name] + change, atol=1e-6)


def test_what_is_no_projection_is_the_base_bit_by_bit(folder):
    g = torch.Generator().manual_seed(0)
    other = synthetic.read_weights(folder / "experts" / "t1")
    other["model.embed_tokens.weight"] += torch.randn(11, synthetic.WIDTH, generator=g)
    synthetic.save_checkpoint(folder / "embeds", other)
    experts = [{"task": "a", "checkpoint": str(folder / "embeds")}]
    (state,) = states(merge(folder, out="others", experts=experts, **ARITHMETIC))
    base, _ = updates(folder)
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(state[name], base[name])


def test_each_step_takes_its_share_of_the_change_of_the_merge(folder):
    """theta_t = theta_(t-1) + eta_t (D_merge,t - D_merge,(t-1)), followed step by step."""
    base, D = updates(folder)
    etas = [0.5, 0.2, 1.0]
    out = merge(folder, out="etas", eta=etas, **ARITHMETIC)
    for name in filter(is_layer, base):
        theta, before = base[name], torch.zeros_like(base[name])
        for t, state in enumerate(states(out)):
            merged = 0.5 * sum(d[name] for d in D[: t + 1])
            theta, before = theta + etas[t] * (merged - before), merged
            assert torch.allclose(state[name], theta, atol=1e-6)


def test_gcwm_starts_with_its_share_of_the_first_update(folder):
    base, D = updates(folder)
    first = states(merge(folder, out="gcwm-first", rule=QUICK))[0]
    for name in filter(is_layer, base):
        assert torch.allclose(first[name], base[name] + 0.1 * D[0][name], atol=1e-6)


def test_opcm_by_its_recursion(folder):
    """lambda_t M_t = lambda_(t-1) M_(t-1) + P(D_t), lambda_t such that ||M_t|| = mean_(i<=t) ||D_i|| over the model."""
    base, D = updates(folder)
    names = [name for name in base if is_layer(name)]
    norms = [np.sqrt(sum(d[name].square().sum().item() for name in names)) for d in D]
    M, lam = {name: D[0][name].numpy() for name in names}, 1.0
    found = states(merge(folder, out="opcm", rule="opcm"))
    for t in range(3):
        if t:
            raw = {name: lam * M[name] + projected(D[t][name].numpy(), M[name]) for name in names}
            length = np.sqrt(sum(np.sum(X**2) for X in raw.values()))
            lam = length / np.mean(norms[: t + 1])
            M = {name: X / lam for name, X in raw.items()}
        for name in names:
            assert np.allclose(found[t][name], base[name].numpy() + M[name], atol=2e-6)


def projected(D, merged):
    U, s, Vh = np.linalg.svd(merged)
    X = U.T @ D @ Vh.T
    r = int(np.sum(np.cumsum(s) <= 0.5 * s.sum()))
    X[:r, :r] = 0
    for k in range(np.linalg.matrix_rank(merged, tol=1e-4 * s[0])):
        X[k, k] = 0
    return U @ X @ Vh


@pytest.mark.parametrize("spectrum", ["exact", "krylov"])
@pytest.mark.parametrize("memory", ["all", 2])
def test_the_gate_sees_the_conflict_that_extraction_measures(folder, spectrum, memory):
    name = f"gate-{spectrum}-{memory}"
    rule = QUICK | {"spectrum": {"method": spectrum}}
    out = merge(folder, out=name, run=name, memory=memory, rule=rule)
    store = folder / f"store-{name}"
    report = geodiag.extract(out, store=store, device="cpu", rank=16, energy=0.9, spectrum=spectrum)
    assert report.exit_code == 0
    rows = pl.read_parquet(out / "merges.parquet")
    pairs = geodiag.open_store(store).scan("pairs").filter(pl.col("kind") == "active").collect()
    active = {2: ["alpha", "beta"], 3: ["alpha", "beta", "gamma"] if memory == "all" else ["beta", "gamma"]}
    for step, tasks in active.items():
        objects = [f"task:{task}" for task in tasks]
        mine = pairs.filter(pl.col("object_i").is_in(objects), pl.col("object_j").is_in(objects))
        expected = mine.group_by("layer").agg(pl.col("conflict").mean()).sort("layer")["conflict"]
        seen = rows.filter(pl.col("step") == step).sort("layer")["conflict"]
        assert np.abs(seen / expected - 1).max() < 1e-7
    assert rows.filter(pl.col("step") == 1)["conflict"].null_count() == 7


def test_unequal_weights_weigh_the_pairs(folder):
    experts = config_of(folder)["experts"]
    for expert, weight in zip(experts, (1, 2, 5), strict=True):
        expert["weight"] = weight
    rule = QUICK | {"spectrum": {"method": "exact"}}
    out = merge(folder, out="weighted", experts=experts, rule=rule)
    rows = pl.read_parquet(out / "merges.parquet").filter(pl.col("step") == 3)
    _, D = updates(folder)
    for row in rows.iter_rows(named=True):
        spectra = [oracle.truncated_spectrum(d[row["layer"] + ".weight"].numpy(), rank=16, energy=0.9) for d in D]
        total = 0.0
        for i, j, w in ((0, 1, 2), (0, 2, 5), (1, 2, 10)):
            Q = oracle.union_basis([spectra[i][0], spectra[j][0]])
            total += w * oracle.conflict(spectra[i], spectra[j], Q)
        assert row["conflict"] == pytest.approx(total / 17, rel=1e-6)
        assert row["alpha"] == pytest.approx(GateSettings().alpha(row["conflict"]))
        assert row["share"] == GateSettings().share(row["conflict"])


def test_rows_measure_the_states(folder):
    out = merge(folder, out="rows", eta=0.3, **ARITHMETIC)
    _, D = updates(folder)
    rows = pl.read_parquet(out / "merges.parquet")
    assert rows.columns == [name for name in TABLES["merges"].columns if name != "run"]
    for row in rows.iter_rows(named=True):
        name, t = row["layer"] + ".weight", row["step"]
        merged = 0.5 * sum(d[name] for d in D[:t])
        assert row["new_norm"] == pytest.approx(D[t - 1][name].norm().item(), rel=1e-5)
        assert row["merged_norm"] == pytest.approx(merged.norm().item(), rel=1e-5)
        assert row["state_norm"] == pytest.approx(0.3 * merged.norm().item(), rel=1e-5)
        assert row["active"] == t
        assert row["alpha"] is None


def test_a_store_that_is_named_gets_the_run_and_what_the_rule_did(folder):
    store = folder / "named-store"
    out = merge(folder, out="stored", run="stored", store=str(store), rule="wudi", eta=0.1)
    reader = geodiag.open_store(store)
    assert reader.runs()["method"].to_list() == ["WUDI"]
    assert (
        reader.scan("merges")
        .drop("run")
        .collect()
        .equals(pl.read_parquet(out / "merges.parquet").sort("step", "layer"))
    )
    assert reader.steps().height == 3
    assert merge(folder, out="stored", run="stored", store=str(store), rule="wudi", eta=0.1) == out  # all is there


def test_the_manifest_names_what_was_given(folder):
    given = {"scores": str(folder / "scores.csv"), "score_scale": "percent", "seed": 4, "method": "Mine"}
    experts = config_of(folder)["experts"][:1]
    manifest = load_manifest(merge(folder, out="papers", experts=experts, **given, **ARITHMETIC))
    assert (manifest.method, manifest.seed, manifest.size, manifest.score_scale) == ("Mine", 4, "tiny", "percent")
    assert manifest.scores == folder / "scores.csv"
    assert manifest.base == folder / "base"
    assert [step.label for step in manifest.steps] == ["alpha"]


def test_bfloat16_shards_stay_bfloat16_shards(tmp_path):
    folder = write_experts(tmp_path / "given", dtype=torch.bfloat16, shards=3, blocks=2)
    (folder / "base" / "tokenizer.json").write_text("{}")
    (folder / "base" / "optimizer.pt").write_text("none of a model's business")
    out = merge(folder, **ARITHMETIC)
    base, D = updates(folder)
    for n, path in enumerate(sorted((out / "states").iterdir())):
        assert {p.name for p in path.iterdir()} == {p.name for p in (folder / "base").iterdir()} - {"optimizer.pt"}
        index = json.loads((path / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(2 * value.numel() for value in base.values())
        assert index["weight_map"] == weight_map(folder / "base")
        for name, file in index["weight_map"].items():
            with safe_open(path / file, framework="pt") as opened:
                stored = opened.get_tensor(name)
            change = sum(0.5 * d[name].float() for d in D[: n + 1]) if is_layer(name) else 0
            assert torch.equal(stored, (base[name].float() + change).bfloat16())


def weight_map(path):
    return json.loads((path / "model.safetensors.index.json").read_text())["weight_map"]


def test_another_type_is_stored_and_said(tmp_path):
    folder = write_experts(tmp_path / "given")
    (folder / "base" / "config.json").write_text('{"model_type": "qwen3", "dtype": "float32"}')
    out = merge(folder, dtype="bfloat16", states="last", **ARITHMETIC)
    (path,) = (out / "states").iterdir()
    base, D = updates(folder)
    with safe_open(path / "model.safetensors", framework="pt") as opened:
        for name in base:
            change = sum(0.5 * d[name].float() for d in D) if is_layer(name) else 0
            assert torch.equal(opened.get_tensor(name), (base[name].float() + change).bfloat16())
    assert json.loads((path / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_base_that_is_one_file(tmp_path):
    folder = write_experts(tmp_path / "given")
    file = folder / "base" / "weights.safetensors"
    (folder / "base" / "model.safetensors").rename(file)
    out = merge(folder, base=str(file), **ARITHMETIC)
    base, D = updates(folder)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.allclose(states(out)[0][name], base[name] + 0.5 * D[0][name], atol=1e-6)


@pytest.mark.parametrize("rule", [QUICK, "opcm", {"name": "task_arithmetic"}], ids=["gcwm", "opcm", "task_arithmetic"])
def test_the_last_state_alone_is_that_of_the_whole_run(folder, rule):
    name = rule if isinstance(rule, str) else rule["name"]
    whole = merge(folder, out=f"whole-{name}", rule=rule)
    alone = merge(folder, out=f"alone-{name}", rule=rule, states="last")
    assert [p.name for p in (alone / "states").iterdir()] == ["step_03_gamma"]
    for file in ("model.safetensors", "config.json"):
        last = (whole / "states" / "step_03_gamma" / file).read_bytes()
        assert (alone / "states" / "step_03_gamma" / file).read_bytes() == last
    assert not (alone / "run.yaml").exists()
    rows = pl.read_parquet(whole / "merges.parquet").filter(pl.col("step") == 3)
    assert pl.read_parquet(alone / "merges.parquet").equals(rows)
