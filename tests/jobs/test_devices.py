"""One process a device; two processes on the CPU stand for two GPUs."""

from __future__ import annotations

import pytest
import torch

from geodiag.errors import GeodiagError, SettingsError
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Silent
from geodiag.jobs.devices import parse_devices
from tests import synthetic
from tests.jobs.extracting import extract_all, extract_on
from tests.jobs.test_batch import contents

SETTINGS = make_settings(rank=4)


class Heard(Silent):
    """Remembers who told of what."""

    def __init__(self):
        self.started, self.parts = [], []

    def run_started(self, run, *, parts, done, what):
        self.started.append((run, parts, done, what))

    def part_done(self, run, part):
        self.parts.append(part)


def test_two_processes_give_the_store_of_one(tmp_path):
    for name in "ab":
        synthetic.write_run(tmp_path / "runs" / name, steps=2, run=name)
    heard = Heard()
    report = extract_on(("cpu", "cpu"), tmp_path / "runs", tmp_path / "two", SETTINGS, progress=heard)
    assert [(one.run, one.status) for one in report.outcomes] == [("a", "done"), ("b", "done")]
    assert {run for run, *_ in heard.started} == {"a (cpu)", "b (cpu)"}
    assert sorted(heard.parts) == sorted([*synthetic.layer_names(1)] * 2)  # no layer was done twice
    extract_all(tmp_path / "runs", tmp_path / "one", SETTINGS, device="cpu")
    for table, want in contents(tmp_path / "one").items():
        assert contents(tmp_path / "two")[table].equals(want)
    again = extract_on(("cpu", "cpu"), tmp_path / "runs", tmp_path / "two", SETTINGS)
    assert {one.status for one in again.outcomes} == {"unchanged"}


@pytest.mark.slow
def test_a_run_that_fails_in_one_process_is_named_once_and_the_others_are_stored(tmp_path):
    for name in "ab":
        synthetic.write_run(tmp_path / "runs" / name, steps=2, run=name)
    (tmp_path / "runs" / "a" / "states" / "s2" / "model.safetensors").write_bytes(b"damaged")
    report = extract_on(("cpu", "cpu"), tmp_path / "runs", tmp_path / "store", SETTINGS)
    assert report.exit_code == 1
    (failed,) = report.failed
    assert failed.run == "a"
    assert "truncated or damaged safetensors file" in failed.detail
    with pytest.raises(GeodiagError, match="truncated or damaged"):
        extract_on(("cpu", "cpu"), tmp_path / "runs", tmp_path / "store", SETTINGS, strict=True)


def test_no_runs_are_an_error_before_any_process(tmp_path):
    with pytest.raises(GeodiagError, match=r"no run\.yaml"):
        extract_on(("cpu", "cpu"), tmp_path, tmp_path / "store", SETTINGS)


def test_devices_by_name():
    assert parse_devices("cpu") == ("cpu",)
    assert parse_devices("auto") == ("auto",)
    assert parse_devices("cpu, cpu") == ("cpu", "cpu")
    with pytest.raises(SettingsError, match="unknown device 'gpu'"):
        parse_devices("cpu,gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_all_needs_a_gpu():
    with pytest.raises(SettingsError, match="there is no CUDA device here; use auto or cpu"):
        parse_devices("all")


@pytest.mark.gpu
def test_all_are_the_gpus():
    assert parse_devices("all") == tuple(f"cuda:{n}" for n in range(torch.cuda.device_count()))
