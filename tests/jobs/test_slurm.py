"""An extraction as jobs of a real Slurm, which the tests start and stop themselves."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from geodiag.cli import main
from geodiag.errors import SettingsError
from geodiag.extraction.measurements import MEASUREMENTS
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import lock, slurm
from geodiag.jobs.slurm import SlurmOptions, parse_extra, parse_minutes, submit_extraction
from geodiag.options import ExtractOptions
from tests import synthetic
from tests.jobs import cluster
from tests.jobs.extracting import extract_all
from tests.jobs.rows import same_rows

SETTINGS = make_settings(rank=4, families=["q_proj", "up_proj"], layers=r"\.[0-9]+\.", lam=2e-6, energy=0.9)
GIVEN = {"rank": 4, "families": ("q_proj", "up_proj"), "layers": r"\.[0-9]+\.", "lam": 2e-6, "energy": 0.9}
GIVEN |= {"device": "cpu", "memory_budget": str(2**28), "read": "buffered", "overwrite": True}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("2-12", 3600), ("2-12:30", 3630), ("1-00:00:01", 1441)],
)
def test_time_limits_as_slurm_writes_them(text, minutes):
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "an hour", "1:2:3:4"])
def test_no_time_limit(text):
    with pytest.raises(SettingsError, match=r"--time: time is .*; write it as 90, 1:30:00 or 2-12:00:00"):
        parse_minutes(text)


def test_parameters_of_sbatch():
    assert parse_extra(["account=lab", "--mem-per-cpu=4G", "cpus_per_task=8"]) == {
        "account": "lab",
        "mem-per-cpu": "4G",
        "cpus-per-task": "8",
    }
    with pytest.raises(SettingsError, match="'exclusive' is no parameter of sbatch; write account=lab"):
        parse_extra(["exclusive"])


@pytest.mark.parametrize("name", ["geometry", "gradients"])
def test_the_jobs_are_given_every_setting(tmp_path, monkeypatch, name):
    """What the command line makes of the arguments is what they were made from."""
    seen = {}

    def caught(devices, runs, work, **_):
        seen.update(devices=devices, runs=runs, work=work)
        raise SystemExit(0)

    monkeypatch.setattr("geodiag.jobs.extract_on", caught)
    options = ExtractOptions.of(**GIVEN, gradients=True, probes_per_task=5)
    (measurement,) = [measurement for measurement in MEASUREMENTS if measurement.name == name]
    arguments = options.arguments(tmp_path / "runs", tmp_path / "store")(measurement)
    with pytest.raises(SystemExit):
        main([*arguments, "--shard", "2/3"])
    work = seen["work"]
    assert (seen["devices"], seen["runs"], work.store) == (("cpu",), tmp_path / "runs", tmp_path / "store")
    assert (work.measured, work.settings["geometry"]) == ((name,), SETTINGS)
    assert (work.memory, work.reading, work.overwrite, str(work.shard)) == (2**28, "buffered", True, "2/3")
    assert work.settings["gradients"].probes_per_task == (5 if name == "gradients" else 32)


def submit(folder, store, slurm=None, **changes):
    options = ExtractOptions.of(**(GIVEN | {"overwrite": None} | changes))
    arguments = options.arguments(folder, store)
    return submit_extraction(folder, options.work(store), slurm or SlurmOptions(), arguments=arguments)


def test_what_is_said_without_submitit_and_without_slurm(tmp_path, monkeypatch):
    run = synthetic.write_run(tmp_path / "run", steps=1)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        with pytest.raises(SettingsError) as caught:
            submit(run, tmp_path / "s")
    assert str(caught.value) == '--engine slurm: submitit is not installed; pip install "geodiag[slurm]"'
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match="there is no srun here; run this where Slurm's commands are"):
        submit(run, tmp_path / "s")
    with pytest.raises(
        SettingsError, match="device is 'cuda:1'; one of auto, cpu, cuda: every job on cuda gets one GPU of its own"
    ):
        submit(run, tmp_path / "s", device="cuda:1")


@pytest.fixture(scope="module")
def slurm_here(tmp_path_factory):
    if problem := cluster.missing():
        pytest.skip(f"no Slurm: {problem}")
    with cluster.running(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def environment(slurm_here, monkeypatch):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm_here[name])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return slurm_here


def logs(store, job):
    return {path.name: path.read_text() for path in sorted((store / slurm.LOGS).glob(f"{job}_*log.out"))}


@pytest.mark.slow
def test_an_array_of_two_stores_what_one_process_does_even_when_put_back_into_the_queue(tmp_path, environment):
    """One of the two jobs is told that its time is up; it goes on in another one. The last job finds all done."""
    runs = synthetic.write_run(tmp_path / "runs" / "run", steps=2, blocks=120).parent
    submission = submit(runs, tmp_path / "store", SlurmOptions(shards=2, minutes=10, extra={"comment": "a b"}))
    array, last = submission.jobs
    assert list(submission.jobs.values()) == ["2 shards of 1 run", "what they leave, and the summary"]
    shown = subprocess.run(["scontrol", "show", "job", last], env=environment, capture_output=True, text=True)
    assert f"Dependency=afterany:{array}_*" in shown.stdout
    assert "TimeLimit=00:10:00" in shown.stdout
    assert "Comment=a b" in shown.stdout
    assert "Requeue=1" in shown.stdout
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store" / lock.LOCKS_FOLDER).glob("run+1of2.lock")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    subprocess.run(["scancel", "--signal", "USR2", f"{array}_0"], env=environment, check=True)
    cluster.wait_for({array, last}, environment)
    said = "".join(logs(tmp_path / "store", array).values())
    assert "geodiag: stopped by SIGUSR2; what was finished is kept" in said
    assert len(re.findall(r"run: 120 layers", said)) == 3
    assert "is gone; going on" not in said  # the second attempt found no lock of the first
    assert "run: extracted 240 layers" in said
    assert "run: unchanged" in "".join(logs(tmp_path / "store", last).values())
    extract_all(runs, tmp_path / "alone", SETTINGS, device="cpu", strict=True)
    assert same_rows(tmp_path / "store", tmp_path / "alone")


def test_what_slurm_refuses_is_said(tmp_path, environment):
    run = synthetic.write_run(tmp_path / "run", steps=1)
    with pytest.raises(SettingsError) as caught:
        submit(run, tmp_path / "s", SlurmOptions(partition="nowhere"))
    refused = "Batch job submission failed: Invalid partition name specified"
    assert str(caught.value) == f"--engine slurm: Slurm refuses: {refused}; mend --partition, --time or --slurm"
