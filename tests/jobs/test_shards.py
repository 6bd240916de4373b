"""Several processes on one folder: who gets what, and that together they store what one alone would."""

from __future__ import annotations

import json
import re

import pytest

from geodiag.checkpoints import Layer
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Shard, parse_shard
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all
from tests.jobs.rows import same_rows

SETTINGS = make_settings(rank=4)


def layers(sizes):
    return tuple(Layer(f"l{n}", n, "q_proj", size, 1, "float32", f"l{n}.weight") for n, size in enumerate(sizes))


def dealt(sizes, count, *, run="run"):
    """The layers' sizes of every shard."""
    sizes = layers(sizes)
    weights, size = {layer.name: layer.stored_bytes for layer in sizes}, {layer.name: layer.d_out for layer in sizes}
    return [[size[name] for name in Shard(n + 1, count).parts(weights, run=run)] for n in range(count)]


def test_every_layer_is_dealt_once_and_evenly_by_bytes():
    """By hand: 9, 7, 6 start one shard each; 5 joins 6, 5 joins 7, 4 joins 9, and 2 joins 11 (the first with 6)."""
    shares = dealt([9, 5, 7, 5, 6, 4, 2], 3)
    assert sorted(size for share in shares for size in share) == [2, 4, 5, 5, 6, 7, 9]
    assert sorted(sum(share) for share in shares) == [12, 13, 13]


def test_what_is_left_over_falls_to_other_shards_in_other_runs():
    first = {next(n for n, share in enumerate(dealt([1], 4, run=f"run-{k}")) if share) for k in range(40)}
    assert first == {0, 1, 2, 3}


def test_more_shards_than_layers():
    assert sorted(map(len, dealt([1, 1], 5))) == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("variables", "shard"),
    [
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "3"}, (1, 4)),
        ({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4"}, (4, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "9",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            (4, 5),
        ),
        ({"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}, (3, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "1",
                "SLURM_PROCID": "2",
                "SLURM_STEP_NUM_TASKS": "3",
            },
            (6, 6),
        ),
        ({"SGE_TASK_ID": "2", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "8", "SGE_TASK_STEPSIZE": "1"}, (2, 8)),
        ({"SGE_TASK_ID": "undefined", "RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "16"}, (1, 16)),
    ],
)
def test_auto_reads_the_scheduler(variables, shard):
    assert parse_shard("auto", variables) == Shard(*shard)


def test_a_batch_script_is_no_task():
    """sbatch sets SLURM_PROCID for the script itself, whatever number of tasks it asks for."""
    with pytest.raises(SettingsError, match=r"shard is auto, and none of SLURM_ARRAY_TASK_ID, .*; say it, as in 2/4"):
        parse_shard("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"})


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "a/b", "1/0", "1"])
def test_no_shard(text):
    with pytest.raises(SettingsError, match="--shard: shard is"):
        parse_shard(text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for n, name in enumerate(("a", "b")):
        synthetic.write_run(folder / "runs" / name, run=name, steps=2, seed=n)
    extract_all(folder / "runs", folder / "alone", SETTINGS, device="cpu", strict=True)
    return folder


def shard(runs, store, n, count, **options):
    return extract_all(runs / "runs", store, SETTINGS, device="cpu", shard=Shard(n, count), **options)


def statuses(report):
    return [outcome.status for outcome in report.outcomes]


def test_the_last_shard_stores_the_runs(runs, tmp_path):
    first, second = shard(runs, tmp_path, 1, 2), shard(runs, tmp_path, 2, 2)
    assert (statuses(first), first.exit_code) == (["partial", "partial"], 0)
    assert re.fullmatch(
        r"shard 1/2: its ([34]) layers are finished, \1 of 7 with the others'", first.outcomes[0].detail
    )
    assert statuses(second) == ["done", "done"]
    assert same_rows(tmp_path, runs / "alone")
    assert statuses(shard(runs, tmp_path, 1, 2)) == ["unchanged", "unchanged"]
    assert not list((tmp_path / ".staging" / "parts").iterdir())


def test_what_shards_left_is_finished_by_an_ordinary_run(runs, tmp_path):
    shard(runs, tmp_path, 2, 3)
    report = extract_all(runs / "runs", tmp_path, SETTINGS, device="cpu")
    assert statuses(report) == ["done", "done"]
    assert same_rows(tmp_path, runs / "alone")


def test_overwriting_in_shards_replaces_once(runs, tmp_path):
    extract_all(runs / "runs", tmp_path, make_settings(rank=3), device="cpu", strict=True)
    assert statuses(shard(runs, tmp_path, 1, 2)) == ["failed", "failed"]
    assert statuses(shard(runs, tmp_path, 1, 2, overwrite=True)) == ["partial", "partial"]
    assert StoreReader(tmp_path).config("a")["rank"] == 3  # until the last one is there
    assert statuses(shard(runs, tmp_path, 2, 2, overwrite=True)) == ["done", "done"]
    assert statuses(shard(runs, tmp_path, 1, 2, overwrite=True)) == ["unchanged", "unchanged"]
    assert same_rows(tmp_path, runs / "alone")


def test_gradients_are_dealt_by_run_and_never_with_geometry(runs, tmp_path):
    from geodiag.extraction.measurements.gradients.settings import GradientOptions

    with pytest.raises(SettingsError, match="extract without --gradients first, then with --gradients-only"):
        shard(runs, tmp_path, 1, 2, gradients=GradientOptions())
    for n, name in ((1, "a"), (2, "b")):
        report = shard(runs, tmp_path, n, 2, gradients=GradientOptions(), geometry=False)
        assert [outcome.run for outcome in report.outcomes] == [name]


def test_four_processes_at_once_store_what_one_does(runs, tmp_path, geodiag):
    command = ["extract", runs / "runs", "--store", tmp_path / "store", "--device", "cpu", "--rank", 4]
    started = [geodiag.start([*command, "--shard", f"{n}/4"], tmp_path / f"log{n}") for n in range(1, 5)]
    codes = [geodiag.wait(pid) for pid in started]
    said = [(tmp_path / f"log{n}").read_text() for n in range(1, 5)]
    assert codes == [0] * 4, said
    assert sum(text.count("extracted 7 layers") for text in said) == 2, said
    assert same_rows(tmp_path / "store", runs / "alone")


def test_ten_processes_on_one_run_break_nothing(runs, tmp_path, geodiag):
    """One has the lock; the others say so and fail, or come when it is done."""
    command = ["extract", runs / "runs" / "a", "--store", tmp_path / "store", "--device", "cpu", "--rank", 4]
    started = [geodiag.start(command, tmp_path / f"log{n}") for n in range(10)]
    codes = [geodiag.wait(pid) for pid in started]
    said = [(tmp_path / f"log{n}").read_text() for n in range(10)]
    assert sum("a: extracted 7 layers" in text for text in said) == 1
    for code, text in zip(codes, said, strict=True):
        assert (code == 0) == ("extracted" in text or "unchanged\n" in text), text
        assert code == 0 or "has it, last sign of life" in text
        assert "Traceback" not in text
    assert StoreReader(tmp_path / "store").run_ids() == ["a"]
    assert json.loads((tmp_path / "store" / "geodiag.json").read_text())["format"] == "geodiag"
