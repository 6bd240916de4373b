"""Configurations: strict keys, one clear line for what is wrong, and the runs of a grid."""

import pytest
import yaml

from geodiag.errors import ManifestError, SettingsError
from geodiag.lab.config import LabConfig, SweepConfig, find_config, load_config
from geodiag.lab.sweep import plan_sweep

RUN = {
    "run": "tiny",
    "size": "0.01M",
    "method": "ewc",
    "tasks": ["copy", "facts"],
    "model": {"layers": 1, "width": 16, "ffn": 24},
    "training": {"steps": 5, "lr": 0.01},
}
SIZE = {
    "model": {"layers": 1, "width": 16, "ffn": 24},
    "base_training": {"steps": 5, "lr": 0.01},
    "training": {"steps": 5, "lr": 0.01},
}


def load(tmp_path, data, kind=LabConfig):
    path = tmp_path / "lab.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_config(path, kind)


def test_a_run_is_read_with_defaults(tmp_path):
    config = load(tmp_path, RUN)
    assert (config.method, config.seed, config.training.batch, config.suite.test) == ("ewc", 0, 16, 128)
    assert config.base_training is None


def test_paths_are_relative_to_the_file(tmp_path):
    data = {**RUN, "base": "models/base", "suite": {"folder": "tasks"}}
    del data["model"]
    config = load(tmp_path, data)
    assert config.base == tmp_path / "models/base"
    assert config.suite.folder == tmp_path / "tasks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metod": "ewc"}, r"lab\.yaml: metod: Extra inputs are not permitted"),
        ({"method": "sgd"}, r"method: Input should be 'seq_sft', 'ewc', 'forever' or 'aimmerging'"),
        ({"training": {"steps": 0, "lr": 0.01}}, r"training\.steps: Input should be greater than or equal to 1"),
        ({"tasks": ["copy", "copy"]}, "tasks: task copy is listed twice"),
        ({"model": {"layers": 1, "width": 10, "ffn": 8}}, "model: width/heads must be a whole even number"),
        ({"base": "x"}, "give either model .* or base"),
        ({"model": None}, "give either model .* or base"),
        ({"run": "a b"}, "run: String should match pattern"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, change, message):
    with pytest.raises(SettingsError, match=message) as caught:
        load(tmp_path, {**RUN, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("- a", SettingsError, r"x\.yaml: not a mapping"),
        ("a: [", ManifestError, r"x\.yaml:1: not valid YAML"),
        ("run: a\nsize: s\nrun: b", ManifestError, r"x\.yaml:3: key 'run' stands here again, first on line 1"),
        ("", ManifestError, r"x\.yaml: the file is empty"),
    ],
)
def test_files_that_are_no_mapping(tmp_path, text, error, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(error, match=message):
        load_config(tmp_path / "x.yaml", LabConfig)
    with pytest.raises(ManifestError, match=r"y\.yaml: cannot be read \(No such file or directory\)"):
        load_config(tmp_path / "y.yaml", LabConfig)


def grid(tmp_path):
    sizes = [{"size": "S", **SIZE}, {"size": "L", **SIZE, "model": {"layers": 2, "width": 32, "ffn": 48}}]
    return load(tmp_path, {"sizes": sizes, "methods": ["seq_sft", "ewc"], "seeds": [0, 7]}, SweepConfig)


def test_a_grid_is_every_size_seed_and_method(tmp_path):
    names = [run.run for run in grid(tmp_path).runs()]
    assert len(set(names)) == 8
    assert names[:4] == ["s-seq_sft-s0", "s-ewc-s0", "s-seq_sft-s7", "s-ewc-s7"]


def test_a_plan_shares_bases_and_experts_and_starts_with_the_costliest(tmp_path):
    jobs = plan_sweep(grid(tmp_path))
    assert [job.name for job in jobs[:2]] == ["bases/L", "bases/S"]
    assert sum(job.kind == "experts" for job in jobs) == 4
    assert sum(job.kind == "run" for job in jobs) == 8
    assert {job.needs for job in jobs[2:]} == {"bases/L", "bases/S"}
    assert [job.config.size for job in jobs[2:]] == ["L"] * 6 + ["S"] * 6


def test_a_limited_plan_has_only_what_its_runs_need(tmp_path):
    names = {job.name for job in plan_sweep(grid(tmp_path), limit=2)}
    assert names == {"bases/S", "experts/S-s0", "runs/s-seq_sft-s0", "runs/s-ewc-s0"}


def test_runs_are_chosen_by_their_ids(tmp_path):
    names = {job.name for job in plan_sweep(grid(tmp_path), only="l-*-s7")}
    assert names == {"bases/L", "experts/L-s7", "runs/l-seq_sft-s7", "runs/l-ewc-s7"}
    with pytest.raises(SettingsError, match="no run's id matches 'x-\\*'; as in s-seq_sft-s0"):
        plan_sweep(grid(tmp_path), only="x-*")


@pytest.mark.parametrize("name", ["demo", "sweep"])
def test_the_configurations_that_come_along_are_valid(name):
    assert load_config(find_config(name), SweepConfig).runs()


def test_the_sweep_is_the_whole_grid():
    config = load_config(find_config("sweep"), SweepConfig)
    assert (len(config.sizes), len(config.methods), len(config.seeds), len(config.tasks)) == (5, 4, 2, 14)
    assert len(config.runs()) == 40


def test_an_unknown_configuration_is_refused():
    with pytest.raises(SettingsError, match="there is no such file; a YAML file, or one of: demo, sweep"):
        find_config("swep")
