"""What `geodiag check` says of runs that are in order, and of those that are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from geodiag.cli import main
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Silent, check_all
from geodiag.store import StoreReader
from tests import synthetic
from tests.jobs.extracting import extract_all


@pytest.fixture
def checked(capsys):
    def run(path, expect=0):
        with pytest.raises(SystemExit) as stopped:
            main(["check", str(path)])
        assert (stopped.value.code or 0) == expect
        return capsys.readouterr()

    return run


def drop(run, name):
    """Takes a tensor out of every checkpoint of a run."""
    for file in run.rglob("model.safetensors"):
        weights = load_file(file)
        del weights[name]
        save_file(weights, file)


def test_families_what_is_left_out_and_notes_a_line_each(tmp_path, checked):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=2, blocks=2)
    assert checked(run).out.splitlines() == [
        "a: 2 steps; 14 layers in 2 blocks and 7 families",
        "  left out 2 tensors: 1 embedding, 1 norm",
        "  matched 2 q_proj, 2 k_proj, 2 v_proj, 2 o_proj, 2 gate_proj, 2 up_proj, 2 down_proj",
        "  note: the base (step 0) is not scored, so there is no forward transfer",
        "1 checked, 0 failed",
    ]


def test_families_of_other_sizes_in_other_blocks_are_a_warning(tmp_path, checked):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=1, blocks=3)
    drop(run, "model.layers.1.mlp.gate_proj.weight")
    drop(run, "model.layers.1.mlp.up_proj.weight")
    lines = checked(run).out.splitlines()
    assert "  matched 3 q_proj, 3 k_proj, 3 v_proj, 3 o_proj, 2 gate_proj, 2 up_proj, 3 down_proj" in lines
    assert (
        "  warning: gate_proj, up_proj: different counts in different blocks, 1 in blocks 0, 2, 0 in block 1" in lines
    )


def test_what_adapters_leave_as_it_is_is_told(tmp_path, checked):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=1)
    for folder in (run / "states/s1", run / "experts/t1"):
        for file in folder.iterdir():
            file.unlink()
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
        name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
        factors = {name.format("B"): torch.zeros(48, 2), name.format("A"): torch.zeros(2, 48)}
        save_file(factors, folder / "adapter_model.safetensors")
    assert (
        "  note: 2 LoRA adapters, kept factored: 2 layers with factors; 12 layers that they leave as the base has them "
        "count as updates of zero"
    ) in checked(run).out.splitlines()


def test_what_is_wrong_is_one_line_each(tmp_path, checked):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=1)
    (run / "run.yaml").write_text((run / "run.yaml").read_text().replace("size: tiny", "size: FILL_IN"))
    said = checked(run, expect=2)
    assert said.err == (f"failed: {run}/run.yaml:2: 1 line is still to fill in (line 2); replace every FILL_IN\n")


def test_an_id_that_is_taken_and_a_checkpoint_that_does_not_fit_are_both_said(tmp_path, checked):
    synthetic.write_run(tmp_path / "a", run="twin", steps=1)
    run = synthetic.write_run(tmp_path / "b", run="twin", steps=1)
    (run / "states/s1/model.safetensors").unlink()
    said = checked(tmp_path, expect=1)
    assert said.err.splitlines() == [
        f"failed: {run}/run.yaml: run id 'twin' is taken by {tmp_path}/a/run.yaml; give each run its own id",
        f"failed: {run}/states/s1: run twin, step 1: holds no safetensors weights; give a folder with "
        "model.safetensors, or with model.safetensors.index.json and its shards",
    ]


def test_three_findings_in_one_run_are_three_lines_and_one_failed_run(tmp_path, checked):
    synthetic.write_run(tmp_path / "a", run="a", steps=1)
    run = synthetic.write_run(tmp_path / "b", run="b", steps=1)
    text = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(text.replace("size: tiny", "sise: tiny") + "memroy: all\n")
    said = checked(tmp_path, expect=1)
    assert said.err.splitlines() == [
        f"failed: {run}/run.yaml:2: unknown key 'sise'; did you mean 'size'?",
        f"failed: {run}/run.yaml:{len(text.splitlines()) + 1}: unknown key 'memroy'; did you mean 'memory'?",
        f"failed: {run}/run.yaml:1: key 'size' is missing; give the label of the model size, such as \"4B\"",
    ]
    assert said.out.splitlines()[-1] == "1 checked, 1 failed"
    checked(run, expect=2)


def test_findings_of_a_run_are_its_errors(tmp_path):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=1)
    (run / "run.yaml").write_text((run / "run.yaml").read_text().replace("size: tiny", "sise: tiny"))
    (outcome,) = check_all(run).outcomes
    assert [error.what for error in outcome.errors] == ["unknown key 'sise'", "key 'size' is missing"]
    assert outcome.error is outcome.errors[0]
    assert outcome.detail.splitlines() == [str(error) for error in outcome.errors]


class Heard(Silent):
    """Keeps the notes of a job."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_standard_errors_and_counts_of_an_evaluation_reach_the_store(tmp_path):
    run = synthetic.write_run(tmp_path / "a", run="a", steps=2, scores="results", score_metric="acc")
    text = (run / "run.yaml").read_text().replace("task 1", "bio").replace("task 2", "law")
    (run / "run.yaml").write_text(text)
    shutil.copytree(Path(__file__).parents[1] / "runs" / "lm_eval", run / "results")
    heard = Heard()
    extract_all(run, tmp_path / "store", make_settings(), device="cpu", strict=True, progress=heard)
    stored = StoreReader(tmp_path / "store").scan("scores").filter(pl.col("task") == "law").sort("step").collect()
    assert stored.select("step", "score", "stderr", "n").rows() == [
        (1, 0.4, 0.11239029738980327, 20),
        (2, 0.8, 0.19999999999999998, 5),
    ]
    assert "run a: evaluated on a part of the examples only (limit 5)" in heard.notes
