"""Extraction and merging on a device whose tensors may not be mixed with the host's, where there is no real one."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch.testing import assert_close

from geodiag.extraction.measurements.geometry.run import prepare_geometry as prepare
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.geometry import numerics, spectrum
from geodiag.runs import load_manifest
from tests import synthetic
from tests.emulated import OnDevice, emulated_cuda
from tests.extraction.adapters import ALL_LINEAR, LLAMA, rows, write_runs
from tests.jobs.extracting import plan_all
from tests.merging.runs import merge, states, write_experts

WIDE = {"model.layers.0.self_attn.q_proj.weight": (600, 520), "model.layers.0.self_attn.o_proj.weight": (520, 600)}


def wide_run(folder):
    """Two steps of layers that are searched by the iteration, in bfloat16 where the device has it."""
    g = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=g) for name, shape in WIDE.items()}
    models = {"base": base}
    for n in (1, 2):
        models[f"t{n}"] = {name: w + 0.1 * torch.randn(w.shape, generator=g) for name, w in base.items()}
        models[f"s{n}"] = {name: (w + base[name]) / 2 for name, w in models[f"t{n}"].items()}
    # Beside the others one whose directions are two and a thousand times as strong as its weakest.
    low = torch.randn(600, 3, generator=g) * torch.tensor([1.0, 0.5, 1e-3])
    weak = 30 * low @ torch.linalg.qr(torch.randn(520, 3, generator=g)).Q.T
    models["t2"]["model.layers.0.self_attn.q_proj.weight"] = base["model.layers.0.self_attn.q_proj.weight"] + weak
    for name, weights in models.items():
        synthetic.save_checkpoint(folder / name, weights, dtype=torch.bfloat16)
    steps = [{"task": f"task {n}", "state": f"s{n}", "expert": f"t{n}"} for n in (1, 2)]
    manifest = {"run": "wide", "size": "s", "method": "m", "base": "base", "updates": "experts", "steps": steps}
    (folder / "run.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def parts(folder, device, *, memory=2**30, stored=0, **settings):
    run = prepare(load_manifest(folder), make_settings(rank=4, **settings), device=device, memory=memory)
    if not stored:
        return [part.rows for part in run.layer_results()]
    known = {part.layer.name: part.bases for part in run.layer_results()}
    return [part.rows for part in run.after(stored).layer_results(known=lambda layer: known[layer.name])]


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        for table, wanted in b.items():
            for one, other in zip(a[table], wanted, strict=True):
                for column, value in other.items():
                    near = pytest.approx(value, rel=1e-4, abs=1e-7) if isinstance(value, float | list) else value
                    assert one[column] == near, (table, column)


@pytest.fixture
def on_device(monkeypatch):
    with emulated_cuda(monkeypatch):
        yield


def test_the_device_keeps_its_tensors_apart(on_device):
    there, here = torch.ones(3, 2, device="cuda:0"), torch.ones(2, 3)
    assert (there.is_cuda, (there @ here.to("cuda:0")).device.type, there.cpu().is_cuda) == (True, "cuda", False)
    for mixed in (
        lambda: there @ here,
        lambda: there + here.T,
        lambda: torch.cat([there, here.T]),
        lambda: here @ there,
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(RuntimeError, match="same device"):
        there[torch.tensor([0])] = torch.zeros(1, 2)
    with pytest.raises(RuntimeError, match="same device"):
        there.index_put_((torch.tensor([0]),), torch.zeros(1, 2))
    assert isinstance(there[torch.tensor([0, 2])], OnDevice)
    assert there[0].add_(1).sum().item() == 4
    assert there.sum().item() == 8


DEVICE_CASES = [
    pytest.param(
        updates,
        given,
        id=f"{updates}-{next(iter(given), 'default')}",
        marks=pytest.mark.slow if updates == "increments" and given else (),
    )
    for updates in ("experts", "increments")
    for given in ({}, {"spectrum": "exact"}, {"memory": 100_000}, {"energy_of": "sketch"}, {"stored": 1})
]


@pytest.mark.parametrize(("updates", "settings"), DEVICE_CASES)
def test_rows_are_those_of_the_cpu(tmp_path, monkeypatch, updates, settings):
    run = synthetic.write_run(tmp_path / "run", steps=3, updates=updates, dtype=torch.bfloat16)
    expected = parts(run, "cpu", **settings)
    with emulated_cuda(monkeypatch):
        found = parts(run, "cuda:0", **settings)
    same(found, expected)


@pytest.mark.parametrize(("memory", "hold"), [(2**30, True), (6_000_000, False)], ids=["held", "read twice"])
def test_wide_layers_in_batches(tmp_path, monkeypatch, memory, hold):
    # The CPU may have no bfloat16: the same arithmetic on both, whose rounding flat spectra magnify.
    monkeypatch.setattr(numerics, "_has_bfloat16", lambda _device: True)
    run, again = wide_run(tmp_path / "run"), []
    expected = parts(run, "cpu")
    within = spectrum._within
    monkeypatch.setattr(spectrum, "_within", lambda D, X: again.append(len(D)) or within(D, X))
    with emulated_cuda(monkeypatch):
        prepared = prepare(load_manifest(run), make_settings(rank=4), device="cuda:0", memory=memory)
        batchings = [prepared.batching(layer) for layer in prepared.run.layers]
        assert [batching.hold for batching in batchings] == [hold, hold]
        assert all((batching.block > 1) == hold for batching in batchings)
        same(parts(run, "cuda:0", memory=memory), expected)
    assert again == [1]  # of the batch, the one with weak directions


@pytest.mark.parametrize("experts", ["adapter", "merged"])
def test_adapters(tmp_path, monkeypatch, experts):
    """Factored updates alone, and beside dense ones of whole experts."""
    folder = write_runs(tmp_path, LLAMA, {"r": 4, "lora_alpha": 8, "target_modules": ALL_LINEAR})
    expected, _ = rows(folder, experts=experts)
    with emulated_cuda(monkeypatch):
        found, _ = rows(folder, experts=experts, device="cuda:0")
    same([found], [expected])


def test_a_dry_run_measures_the_device(tmp_path, on_device):
    run = synthetic.write_run(tmp_path / "run", steps=2)
    lines = list(plan_all(run, make_settings(rank=4), device="cuda:0"))
    assert "half of what is free on cuda:0" in lines[0]
    assert any("on cuda:0" in line and line.startswith("measured just now: products") for line in lines)


FEWER = {"gcwm": {"wudi": {"iterations": 5}, "metric": {"iterations": 5}}, "wudi": {"iterations": 20}}
"""Iterations of merges, where each does the same."""


@pytest.fixture
def one_thread():
    """On matrices this small, threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("rule", ["gcwm", "wudi", "task_arithmetic", "ties", "opcm"])
def test_merges_are_those_of_the_cpu(tmp_path, monkeypatch, rule):
    folder = write_experts(tmp_path)
    given = {"rule": {"name": rule} | FEWER.get(rule, {}), "layers": "q_proj|down_proj"}
    expected = states(merge(folder, **given))
    with emulated_cuda(monkeypatch):
        found = states(merge(folder, out="there", device="cuda:0", **given))
    for a, b in zip(found, expected, strict=True):
        for name, value in b.items():
            assert_close(a[name], value, rtol=1e-4, atol=1e-6)
