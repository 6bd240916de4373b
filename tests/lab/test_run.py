"""Whole runs of two tasks: what they leave on disk, the same twice, and taken up after a kill."""

import csv
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from geodiag.common.files import whole_folder
from geodiag.errors import SettingsError
from geodiag.lab import sweep as sweeps
from geodiag.lab.commands import lab_app
from geodiag.lab.config import LabConfig, SweepConfig
from geodiag.lab.model import load_trainable
from geodiag.lab.run import train_run
from geodiag.lab.sweep import run_sweep
from geodiag.models.loading import load_tokenizer
from geodiag.runs import load_manifest, load_scores

MODEL = {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1, "ffn": 24}
COMMON = {
    "tasks": ["copy", "facts"],
    "suite": {"train": 64, "test": 16, "probes": 3},
    "ewc": {"fisher_items": 4, "warmup": 1},
    "forever": {"day": 2},
    "aimmerging": {"interval": 2},
}
BUDGETS = {
    "model": MODEL,
    "base_training": {"steps": 4, "batch": 8, "lr": 0.01, "until": 0.99, "check_every": 2},
    "training": {"steps": 6, "batch": 8, "lr": 0.01},
}


def config(method="seq_sft", **changes):
    run = {"run": f"tiny-{method}", "size": "tiny", "method": method, **COMMON, **BUDGETS, **changes}
    return LabConfig.model_validate(run)


def weights(folder):
    return load_file(folder / "model.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def quietly(_):
    pass


@pytest.fixture(scope="module")
def ewc_run(tmp_path_factory):
    return train_run(config("ewc"), tmp_path_factory.mktemp("ewc") / "run", progress=quietly)


def test_a_run_is_what_a_manifest_says(ewc_run):
    manifest = load_manifest(ewc_run)
    assert (manifest.run, manifest.size, manifest.method, manifest.seed) == ("tiny-ewc", "tiny", "EWC", 0)
    assert [step.task for step in manifest.steps] == ["copy", "facts"]
    assert (manifest.updates, manifest.memory) == ("experts", "all")
    for folder in (manifest.base, *(path for step in manifest.steps for path in (step.state, step.expert))):
        assert (folder / "model.safetensors").is_file()
        assert load_tokenizer(folder, base=folder)("cpy a=")["input_ids"]
    assert not any(path.startswith("/") for path in str(yaml.safe_load((ewc_run / "run.yaml").read_text())).split("'"))


def test_every_task_is_scored_at_every_step(ewc_run):
    scores = load_scores(load_manifest(ewc_run))
    assert sorted(scores.select("step", "task").rows()) == [(s, t) for s in range(3) for t in ("copy", "facts")]
    assert set(scores["n"]) == {16}
    with (ewc_run / "scores.csv").open() as file:
        assert next(csv.reader(file)) == ["step", "task", "score", "stderr", "n"]


def test_states_go_on_from_each_other_and_experts_from_the_base(ewc_run):
    manifest = load_manifest(ewc_run)
    base, first, second = (weights(p) for p in (manifest.base, manifest.steps[0].state, manifest.steps[1].state))
    expert = weights(manifest.steps[0].expert)
    name = "model.layers.0.mlp.up_proj.weight"
    assert {base[name].dtype, first[name].dtype, expert[name].dtype} == {torch.float32}
    different = [base[name], first[name], second[name], expert[name]]
    assert all(not torch.equal(a, b) for k, a in enumerate(different) for b in different[:k])


def test_probes_are_neither_trained_on_nor_scored(ewc_run):
    rows = [json.loads(line) for line in (ewc_run / "probes.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows] == ["copy"] * 3 + ["facts"] * 3
    assert all(row["prompt"].startswith(("cpy ", "fct ")) and row["target"].endswith(".") for row in rows)


def test_the_strategy_says_what_it_did(ewc_run):
    first, second = (json.loads(line) for line in (ewc_run / "strategy.jsonl").read_text().splitlines())
    assert (first["step"], first["task"], first["lambda"]) == (1, "copy", None)
    assert second["lambda"] > 0
    assert not list(ewc_run.glob(".lab/*/carried.safetensors"))  # a finished run needs no Fisher


@pytest.mark.parametrize("method", ["ewc", "forever", "aimmerging"])
def test_the_same_again_and_after_a_kill(method, tmp_path, ewc_run):
    whole = ewc_run if method == "ewc" else train_run(config(method), tmp_path / "whole", progress=quietly)

    class Killed(BaseException):
        pass

    def kill_after_the_first_step(line):
        if "step 1/2" in line:
            raise Killed

    with pytest.raises(Killed):
        train_run(config(method), tmp_path / "cut", progress=kill_after_the_first_step)
    assert len(load_manifest(tmp_path / "cut").steps) == 1
    said = []
    cut = train_run(config(method), tmp_path / "cut", progress=said.append)
    assert len(said) == 1  # the second step alone was left to do
    assert (cut / "scores.csv").read_text() == (whole / "scores.csv").read_text()
    assert (cut / "strategy.jsonl").read_text() == (whole / "strategy.jsonl").read_text()
    for path in ("base", "experts/facts", "checkpoints/step_01_copy", "checkpoints/step_02_facts"):
        assert equal(weights(cut / path), weights(whole / path))


def test_a_finished_run_is_left_alone(ewc_run):
    said = []
    train_run(config("ewc"), ewc_run, progress=said.append)
    assert said == []


def test_other_settings_are_refused(ewc_run):
    with pytest.raises(SettingsError, match=r"was made with other settings \(training\)"):
        train_run(config("ewc", training={"steps": 7, "lr": 0.01}), ewc_run, progress=quietly)


def test_half_a_folder_is_never_seen(tmp_path):
    def write_half():
        with whole_folder(tmp_path / "x") as part:
            (part / "a").write_text("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert not list(tmp_path.iterdir())


def test_bfloat16_runs_go_on_from_what_was_saved(tmp_path):
    """Cut and whole agree only if training goes on from the rounded weights."""
    whole = train_run(config(dtype="bfloat16"), tmp_path / "whole", progress=quietly)
    assert {tensor.dtype for tensor in weights(whole / "checkpoints/step_02_facts").values()} == {torch.bfloat16}
    shutil.copytree(whole, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step_02_facts")
    cut = train_run(config(dtype="bfloat16"), tmp_path / "cut", progress=quietly)
    last = "checkpoints/step_02_facts"
    assert equal(weights(cut / last), weights(whole / last))


def test_adapters_are_saved_alone_and_go_on_from_each_other(tmp_path):
    settings = config(lora={"r": 2, "alpha": 4})
    run = train_run(settings, tmp_path / "run", progress=quietly)
    files = [run / f"checkpoints/{step}/adapter_model.safetensors" for step in ("step_01_copy", "step_02_facts")]
    first, second = (load_file(file) for file in files)
    assert len(first) == 14  # A and B of seven projections
    assert all(".lora_" in name for name in first)
    assert not equal(first, second)
    assert (run / "experts/copy/adapter_config.json").is_file()
    assert not (run / "experts/copy/model.safetensors").exists()
    shutil.rmtree(files[1].parent)
    train_run(settings, run, progress=quietly)
    assert equal(load_file(files[1]), second)


@pytest.mark.gpu
def test_a_run_on_a_gpu(tmp_path):
    run = train_run(config("ewc", device="cuda"), tmp_path / "run", progress=quietly)
    assert len(load_manifest(run).steps) == 2


def test_a_local_base_is_used_as_it_is(ewc_run, tmp_path):
    base = ewc_run / "base"
    settings = config(run="again", model=None, base_training=None, base=base)
    run = train_run(settings, tmp_path / "run", progress=quietly)
    assert load_manifest(run).base == base
    assert not (run / "base").exists()
    zero = [line for line in (run / "scores.csv").read_text().splitlines() if line.startswith("0,")]
    assert zero == [line for line in (ewc_run / "scores.csv").read_text().splitlines() if line.startswith("0,")]
    assert load_trainable(base).config.model_type == "qwen3"


def sweep(**changes):
    size = {"size": "tiny", **BUDGETS}
    return SweepConfig.model_validate({"sizes": [size], "methods": ["seq_sft", "ewc"], **COMMON, **changes})


def test_a_sweep_trains_bases_and_experts_once(tmp_path):
    said = []
    runs = run_sweep(sweep(), tmp_path, progress=said.append)
    manifests = [load_manifest(runs / name) for name in ("tiny-seq_sft-s0", "tiny-ewc-s0")]
    assert len({manifest.base for manifest in manifests}) == 1
    assert len({manifest.steps[0].expert for manifest in manifests}) == 1
    assert sum(line.startswith("expert") for line in said) == 2
    first = [weights(manifest.steps[0].state) for manifest in manifests]
    assert equal(*first)  # the first step has nothing to remember, so both methods see the same items


class Threads(ThreadPoolExecutor):
    """In the place of processes."""

    def __init__(self, workers, *, mp_context):
        super().__init__(workers)


@pytest.fixture
def in_threads(monkeypatch):
    """Has the jobs of a sweep done in threads, by the function returned."""
    monkeypatch.setattr(sweeps, "ProcessPoolExecutor", Threads)
    return lambda do: monkeypatch.setattr(sweeps, "do_job", lambda job, out, *, progress: do(job, progress))


def test_workers_start_a_job_when_its_base_is_there(tmp_path, in_threads):
    started, said = [], []

    def do(job, progress):
        assert job.needs is None or f"{job.needs} done" in started
        started.append(job.name)
        progress("a line")
        progress("the last line")
        started.append(f"{job.name} done")

    in_threads(do)
    assert run_sweep(sweep(), tmp_path, workers=2, progress=said.append) == tmp_path / "runs"
    assert sorted(name for name in started if not name.endswith("done")) == [
        "bases/tiny", "experts/tiny-s0", "runs/tiny-ewc-s0", "runs/tiny-seq_sft-s0",
    ]  # fmt: skip
    assert said[0].endswith("s, 1/4] bases/tiny: the last line")
    assert said[-1].split(", ")[1].startswith("4/4] ")


def test_a_failed_job_is_named_and_what_needs_it_is_left(tmp_path, in_threads):
    started = []

    def do(job, progress):
        started.append(job.name)
        raise ValueError("no luck")

    in_threads(do)
    with pytest.raises(SettingsError, match="1 of 4 jobs failed, first bases/tiny: no luck"):
        run_sweep(sweep(), tmp_path, workers=2, progress=quietly)
    assert started == ["bases/tiny"]


@pytest.mark.slow
def test_a_sweep_in_processes_gives_the_same(tmp_path, ewc_run):
    said = []
    runs = run_sweep(sweep(methods=["ewc"]), tmp_path, workers=2, progress=said.append)
    assert (runs / "tiny-ewc-s0/scores.csv").read_text() == (ewc_run / "scores.csv").read_text()
    assert said[0].split("] ")[1].startswith("bases/tiny: ")
    assert len(said) == 3


def test_the_order_comes_from_the_seed(tmp_path):
    tasks = ["copy", "facts", "sort", "shift"]
    settings = sweep(tasks=tasks, order="by_seed", methods=["seq_sft"], seeds=[0, 1])
    runs = run_sweep(settings, tmp_path, progress=quietly)
    orders = [[step.task for step in load_manifest(runs / f"tiny-seq_sft-s{seed}").steps] for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(tasks)
    assert orders[0] != orders[1]


def test_commands_train_and_report(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump(config().model_dump(mode="json", exclude_none=True)))
    result = CliRunner().invoke(lab_app, ["run", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "tiny-seq_sft: step 2/2 facts" in result.output
    assert load_manifest(tmp_path / "out").steps
    again = CliRunner().invoke(lab_app, ["run", str(path), "--out", str(tmp_path / "out"), "-q"])
    assert (again.exit_code, again.output) == (0, "")
