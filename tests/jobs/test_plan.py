"""What a dry run says, by hand."""

from __future__ import annotations

import re
import time

import pytest
import torch

from geodiag.checkpoints import Layer
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.geometry.run import GeometryRun
from geodiag.extraction.measurements.geometry.run import prepare_geometry as prepare
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import parse_bytes
from geodiag.jobs.machine import SHARE, default_budget, free_host_memory, measure_disk, measure_products
from geodiag.runs import load_manifest
from tests import synthetic
from tests.jobs.extracting import plan_all

ENTRIES = sum(a * b for a, b in synthetic.SHAPES.values())


@pytest.mark.parametrize(("text", "value"), [("4GiB", 2**32), ("500 MB", 500_000_000), ("12", 12), ("0.5kb", 500)])
def test_budgets(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "4 GX", "-1GB", "0"])
def test_no_budget(text):
    with pytest.raises(SettingsError, match="write it as 4GiB or 500MB"):
        parse_bytes(text)


METHODS = ("krylov", "exact")


def test_the_columns_of_an_update_by_hand():
    """Krylov: 6 times 32 columns both ways, 40 more both ways. Gram: the smaller side twice. SVD: 6 m n^2 + 20 n^3."""
    large = Layer("l", 0, "q_proj", 4096, 1024, "float32", "l")
    small = Layer("l", 0, "q_proj", 48, 80, "float32", "l")
    columns = {spectrum: GeometryRun(None, make_settings(spectrum=spectrum)).update_columns for spectrum in METHODS}
    assert columns["krylov"](large) == 2 * 6 * 32 + 2 * 40
    assert columns["krylov"](small) == 2 * 48
    m, n = 4096, 1024
    assert 2 * m * n * columns["exact"](large) == 6 * m * n**2 + 20 * n**3


def cost(folder, *, memory=2**30, **manifest):
    synthetic.write_run(folder, steps=2, **manifest)
    return prepare(load_manifest(folder), make_settings(rank=4), device="cpu", memory=memory).cost()


def test_the_plan_of_a_run_by_hand(tmp_path):
    """Two steps with experts: 5 checkpoints, 4 updates, 1 task pair and 3 state pairs."""
    found = cost(tmp_path / "run")
    assert found.read == 5 * ENTRIES * 4
    assert found.flops == sum(2 * a * b * (4 * 2 * min(a, b) + 4 * 2 * 4) for a, b in synthetic.SHAPES.values())
    assert found.rows == 7 * (4 + 4 + 2 + 1)
    largest = max(a * b for a, b in synthetic.SHAPES.values())
    # At least the four updates that wait for their comparison and one in hand with its weights; at most two of each.
    assert 4 * largest * 4 + largest * (12 + 4) <= found.memory <= 2 * 4 * largest * (4 + 12) + 20 * largest * 4


def test_what_does_not_fit_is_read_twice(tmp_path):
    assert cost(tmp_path / "run", memory=1).read == 2 * 5 * ENTRIES * 4


def test_increments_read_no_expert(tmp_path):
    assert cost(tmp_path / "run", updates="increments").read == 3 * ENTRIES * 4


def test_the_lines(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    start = time.perf_counter()
    budget, run, took, read, computed = plan_all(folder, make_settings(rank=4))
    assert time.perf_counter() - start < 20
    assert re.fullmatch(r"memory budget: \d+\.\d\d GB \(half of what is free on cpu\)", budget)
    assert run.startswith("run run: 2 steps, 7 layers, 4 updates and 4 pairs a layer; reads 0.00 GB, 0.000 TFLOP")
    assert run.endswith("GB of weights and updates on cpu, stores 77 rows")
    assert re.fullmatch(r"time: about [\d.]+ s: reading takes [\d.]+ s, computing [\d.]+ s, side by side", took)
    assert re.fullmatch(r"measured just now: reading [\d,]+ MB/s(,.* page cache.*| from disk)", read)
    rate = r"measured just now: products [\d,]+ GFLOP/s \(\d+x\d+ by 32 in float32 on cpu\), [\d,]+ with all else"
    assert re.match(rate, computed)
    given, *rest = plan_all(folder, make_settings(rank=4), memory=10**9, probe=False)
    assert (given, len(rest)) == ("memory budget: 1.00 GB (given)", 1)


def test_what_was_just_read_is_known_to_be_cached(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(2**24))
    found = measure_disk([file])
    assert found.rate > 0
    assert found.cached is None or found.cached > 0.99
    assert "page cache" in str(found)
    assert measure_disk([]) is None


@pytest.mark.parametrize("spectrum", ["krylov", "exact"])
def test_a_device_is_timed_on_real_updates(spectrum):
    settings = make_settings(spectrum=spectrum)
    found = measure_products((300, 200), 400.0, settings, torch.device("cpu"), workers=2)
    assert found.products > 0
    assert found.updates > 0
    assert "300x200 by 32 in float" in str(found)


GIB = 2**30


def machine(root, *, available, **files):
    """A /proc and /sys with these numbers."""
    for name, text in {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {available // 1024} kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_free_is_what_the_system_has(tmp_path):
    assert free_host_memory(root=machine(tmp_path, available=8 * GIB), environment={}) == 8 * GIB


def test_a_control_group_leaves_less(tmp_path):
    """Version 2: 4 GiB allowed to the group above, 3 used, of which 1 is files that can be let go."""
    group = "sys/fs/cgroup/job"
    files = {
        "proc/self/cgroup": "0::/job/step\n",
        f"{group}/step/memory.max": "max\n",
        f"{group}/memory.max": f"{4 * GIB}",
    }
    files |= {f"{group}/memory.current": f"{3 * GIB}", f"{group}/memory.stat": f"anon 5\ninactive_file {GIB}\n"}
    root = machine(tmp_path, available=8 * GIB, **files)
    assert free_host_memory(root=root, environment={}) == 2 * GIB


def test_a_control_group_of_version_1(tmp_path):
    group = "sys/fs/cgroup/memory/docker/1"
    files = {"proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/1\n", f"{group}/memory.limit_in_bytes": f"{4 * GIB}"}
    files |= {f"{group}/memory.usage_in_bytes": f"{GIB}", f"{group}/memory.stat": "total_inactive_file 0\n"}
    assert free_host_memory(root=machine(tmp_path, available=8 * GIB, **files), environment={}) == 3 * GIB


def test_a_slurm_job_may_be_given_less(tmp_path):
    root = machine(tmp_path, available=8 * GIB)
    assert free_host_memory(root=root, environment={"SLURM_MEM_PER_NODE": "1024"}) == GIB
    several = {"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"}
    assert free_host_memory(root=root, environment=several) == 2 * GIB
    assert free_host_memory(root=root, environment={"SLURM_MEM_PER_NODE": "0"}) == 8 * GIB  # all of it


def test_the_default_budget_is_half_of_what_is_free():
    free = free_host_memory()
    assert default_budget(torch.device("cpu")) == pytest.approx(SHARE * free, rel=0.3)
