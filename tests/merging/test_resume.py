"""Merges that are killed, run again, continued, or that would overwrite something."""

import os
import shutil
import signal
import subprocess
import sys

import polars as pl
import pytest
import yaml

from geodiag.errors import CheckpointError, SettingsError
from geodiag.jobs import Silent
from geodiag.merging import parse_merge, run_merge
from geodiag.merging.folder import RunFolder, check_space
from tests.merging.runs import TASKS, config_of, contents, merge, states, write_config, write_experts

RULES = {
    "gcwm": {"rule": {"name": "gcwm", "wudi": {"iterations": 5}, "metric": {"iterations": 2}}},
    "opcm": {"rule": "opcm"},
}
KILLED = """
import os, signal, sys
from geodiag.jobs import Silent
from geodiag.merging import load_merge, run_merge

class Killer(Silent):
    left = int(sys.argv[2])
    def part_done(self, run, part):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

run_merge(load_merge(__import__("pathlib").Path(sys.argv[1])), progress=Killer())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_experts(tmp_path_factory.mktemp("resume") / "given", shards=2)


class Counting(Silent):
    """Counts what is computed and what an earlier attempt has left."""

    def __init__(self):
        self.computed = self.found = 0

    def run_started(self, run, *, parts, done, what):
        self.found += done

    def part_done(self, run, part):
        self.computed += 1


class Stopping(Counting):
    """Fails after so many layers, as a full disk or a person would."""

    def __init__(self, after, error):
        super().__init__()
        self.after, self.error = after, error

    def part_done(self, run, part):
        super().part_done(run, part)
        if self.computed == self.after:
            raise self.error


@pytest.mark.parametrize("rule", ["gcwm", pytest.param("opcm", marks=pytest.mark.slow)])
def test_a_killed_merge_goes_on_and_gives_the_same_bytes(folder, rule):
    whole = merge(folder, out=f"whole-{rule}", **RULES[rule])
    config = write_config(folder, out=str(folder / f"killed-{rule}"), **RULES[rule])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(config), "3"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (folder / f"killed-{rule}" / "run.yaml").exists()
    counting = Counting()
    out = merge(folder, out=f"killed-{rule}", progress=counting, **RULES[rule])
    assert (counting.found, counting.computed) == (3, 4)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_merge_goes_on(folder, error, rule):
    name = f"interrupted-{type(error).__name__}-{rule}"
    with pytest.raises((KeyboardInterrupt, CheckpointError)):
        merge(folder, out=name, progress=Stopping(2, error), **RULES[rule])
    whole = merge(folder, out=f"uninterrupted-{rule}", **RULES[rule])
    assert contents(merge(folder, out=name, **RULES[rule])) == contents(whole)


def test_killed_between_the_states_and_the_papers(folder, monkeypatch):
    """The states are in place, what says so is not."""
    finish = RunFolder.finish

    def half(self, recipe, *, steps):
        finish(self, recipe, steps=steps)
        (self.path / "merge.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "finish", half)
    with pytest.raises(KeyboardInterrupt):
        merge(folder, out="between", **RULES["gcwm"])
    monkeypatch.undo()
    counting = Counting()
    merge(folder, out="between", progress=counting, **RULES["gcwm"])
    assert counting.computed == 0
    assert contents(folder / "between") == contents(merge(folder, out="straight", **RULES["gcwm"]))


def test_a_finished_merge_is_left_alone(folder):
    out = merge(folder, out="again", **RULES["gcwm"])
    before = {path: path.stat().st_mtime_ns for path in (out / "states").rglob("*")}
    merged = run_merge(parse_merge(config_of(folder, out="again", **RULES["gcwm"])))
    assert merged.detail == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in (out / "states").rglob("*")} == before
    assert not (out / ".merge").exists()


@pytest.mark.parametrize("rule", RULES)
def test_an_expert_more_adds_a_step(folder, rule):
    experts = config_of(folder)["experts"]
    out = merge(folder, out=f"grown-{rule}", experts=experts[:2], **RULES[rule])
    before = contents(out / "states")
    assert merge(folder, out=f"grown-{rule}", experts=experts, **RULES[rule]) == out
    after = contents(out / "states")
    assert {name: after[name] for name in before} == before
    assert contents(out) == contents(merge(folder, out=f"at-once-{rule}", experts=experts, **RULES[rule]))


def test_experts_added_to_a_killed_merge(folder):
    """What it has done lacks the new step, so it begins anew."""
    experts = config_of(folder)["experts"]
    given = RULES["gcwm"] | {"experts": experts[:2]}
    with pytest.raises(KeyboardInterrupt):
        merge(folder, out="grown-early", progress=Stopping(3, KeyboardInterrupt()), **given)
    out = merge(folder, out="grown-early", **RULES["gcwm"])
    assert contents(out) == contents(merge(folder, out="straight-away", **RULES["gcwm"]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rule": "ties", "eta": 0.1}, "rule"),
        ({"memory": 2}, "memory"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"eta": 0.7}, r"eta \(step 1\), eta \(step 2\), eta \(step 3\)"),
        ({"experts": []}, r"steps \(1 more\)"),
        ({"run": "else"}, "run"),
        ({"layers": "q_proj"}, "layers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_do_not_overwrite(folder, tmp_path, change, named, finished):
    out = str(tmp_path / "out")
    if finished:
        merge(folder, out=out, **RULES["gcwm"])
    else:
        with pytest.raises(KeyboardInterrupt):
            merge(folder, out=out, progress=Stopping(1, KeyboardInterrupt()), **RULES["gcwm"])
    before = contents(tmp_path)
    experts = config_of(folder)["experts"][: 2 if "experts" in change else 3]
    given = {"out": out} | RULES["gcwm"] | change | {"experts": experts}
    with pytest.raises(SettingsError, match=f"it holds a merge made with other {named}; name another 'out'"):
        merge(folder, **given)
    assert contents(tmp_path) == before


def test_other_inputs_do_not_overwrite(folder, tmp_path):
    given = tmp_path / "given"
    shutil.copytree(folder / "experts", given / "experts")
    shutil.copytree(folder / "base", given / "base")
    merge(given, **RULES["gcwm"])
    os.utime(next((given / "experts" / "t2").glob("*.safetensors")))
    with pytest.raises(SettingsError, match=r"other expert \(step 2\)"):
        merge(given, **RULES["gcwm"])


def test_labels_and_scores_may_change(folder):
    merge(folder, out="relabelled", **RULES["gcwm"])
    out = merge(folder, out="relabelled", method="New", scores=str(folder / "scores.csv"), **RULES["gcwm"])
    manifest = yaml.safe_load((out / "run.yaml").read_text())
    assert (manifest["method"], manifest["scores"]) == ("New", "../scores.csv")


def test_a_folder_with_something_else_in_it_is_refused(folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(SettingsError, match="the folder is not empty and no merge"):
        merge(folder, out=str(tmp_path), **RULES["gcwm"])
    with pytest.raises(SettingsError, match="'out' is a file"):
        merge(folder, out=str(tmp_path / "thesis.tex"), **RULES["gcwm"])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("inside", ["base", "experts/t2", "base/deep/merged"])
def test_out_within_a_checkpoint_is_refused(folder, inside):
    with pytest.raises(SettingsError, match="'out' lies in the checkpoint"):
        merge(folder, out=str(folder / inside), **RULES["gcwm"])


def test_two_at_once_are_refused(folder, tmp_path):
    class Second(Silent):
        def part_done(self, run, part):
            with pytest.raises(SettingsError, match="another process merges into it"):
                merge(folder, out=str(tmp_path / "out"), **RULES["gcwm"])

    merge(folder, out=str(tmp_path / "out"), progress=Second(), **RULES["gcwm"])


def test_too_small_a_disk_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"the merge writes 1000000000\.0 GB and .* GB are free"):
        check_space(tmp_path / "not" / "there", 10**18)


def test_a_merge_that_does_not_fit_its_type_is_named(folder, tmp_path):
    rule = {"name": "task_arithmetic", "scale": 1e5}
    with pytest.raises(CheckpointError, match=r"step \d, tensor model.layers.0.self_attn.q_proj.weight: .* as float16"):
        merge(folder, out=str(tmp_path / "out"), dtype="float16", rule=rule)


def test_states_are_in_place_when_the_run_is(folder):
    out = merge(folder, out="placed", **RULES["gcwm"])
    assert [path.name for path in sorted((out / "states").iterdir())] == [
        f"step_{n:02d}_{task}" for n, task in enumerate(TASKS, start=1)
    ]
    assert len(states(out)) == 3
    assert pl.read_parquet(out / "merges.parquet").height == 21
