"""`geodiag edit`: the bytes of what it writes, its scores, its line in the model card, and what it refuses."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM

from geodiag.checkpoints import open_checkpoint, open_model
from geodiag.cli import main
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.scoring import EditScorer
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.merging import StepEdit, edit_step
from geodiag.merging.edited_state import EditedState
from geodiag.models.probes import TaskProbe, TaskProbes
from geodiag.models.runner import ModelRunner
from geodiag.models.scores import score_examples
from geodiag.models.states import ModelState, model_state
from tests.extraction.gradient_runs import tiny_model, write_manifest


def weights(folder):
    return load_file(folder / "model.safetensors")


def edit(run, out, step=2, dtype="float32", **what):
    return edit_step(run, run="tiny", step=step, edit=StepEdit(**what), out=out, dtype=dtype, device="cpu")


def test_reverted_tensors_are_those_before_and_all_others_those_after(run, tmp_path):
    written = edit(run, tmp_path / "out", revert=("q_proj", "model.layers.1.mlp.*", "norm"))
    before, after, made = weights(run / "state_1"), weights(run / "state_2"), weights(tmp_path / "out")
    assert set(made) == set(after)
    for name, value in made.items():
        put_back = "q_proj" in name or "layers.1.mlp" in name or "norm" in name
        assert torch.equal(value, (before if put_back else after)[name]), name
    assert written.survived == 1
    assert len(written.groups) == 2 + 3 + 1
    model = Qwen3ForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model.model.norm.weight, before["model.norm.weight"])


def test_a_scaled_step_is_measured_as_written(run, tmp_path):
    written = edit(run, tmp_path / "out", scale=0.5)
    before, after, made = weights(run / "state_1"), weights(run / "state_2"), weights(tmp_path / "out")
    for name, value in made.items():
        torch.testing.assert_close(value, before[name] + 0.5 * (after[name] - before[name]), atol=1e-6, rtol=1e-5)
    result = {one.task: one for one in written.results}["alpha"]
    assert result.p[0] > result.p[2] + 0.1 > result.p[1] + 0.2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "run tiny, step 2 (beta), the step scaled by 0.5" in card
    assert f"alpha {result.p[0]:.2f} -> {result.p[1]:.2f}, edited {result.p[2]:.2f}" in card


def narrow(run, folder):
    """The run in bfloat16, whose second step leaves the embedding as it is."""
    for n in (0, 1, 2):
        values = weights(run / f"state_{n}")
        if n == 2:
            values["model.embed_tokens.weight"] = weights(run / "state_1")["model.embed_tokens.weight"]
        for source in (run / f"state_{n}").iterdir():
            (folder / f"state_{n}").mkdir(exist_ok=True, parents=True)
            (folder / f"state_{n}" / source.name).write_bytes(source.read_bytes())
        save_file({k: v.bfloat16() for k, v in values.items()}, folder / f"state_{n}" / "model.safetensors")
        config = json.loads((folder / f"state_{n}" / "config.json").read_text()) | {"dtype": "bfloat16"}
        (folder / f"state_{n}" / "config.json").write_text(json.dumps(config))
    return write_manifest(folder, steps=2, probes=None)


def test_a_narrow_run_is_edited_in_float32_and_keeps_the_bytes_of_what_is_not(run, tmp_path):
    narrow(run, tmp_path / "run")
    written = edit(tmp_path / "run", tmp_path / "wide", scale=0.5)
    before, after, made = (weights(tmp_path / name) for name in ("run/state_1", "run/state_2", "wide"))
    assert made["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert torch.equal(made["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    q = "model.layers.0.self_attn.q_proj.weight"
    assert made[q].dtype == torch.float32
    assert torch.equal(made[q], before[q].float() + 0.5 * (after[q].float() - before[q].float()))
    assert json.loads((tmp_path / "wide" / "config.json").read_text())["dtype"] == "float32"
    assert (written.survived, written.results) == (1, ())
    assert list(written.lines())[-1] == "not measured: the run has no probes"
    narrowed = edit(tmp_path / "run", tmp_path / "narrow", scale=0.99, dtype="bfloat16")
    made = weights(tmp_path / "narrow")
    assert {value.dtype for value in made.values()} == {torch.bfloat16}
    meant = {k: 0.01 * (before[k].double() - after[k].double()) for k in made}
    kept = sum(((made[k].double() - after[k].double()) * meant[k]).sum().item() for k in made)
    assert narrowed.survived == pytest.approx(kept / sum(v.square().sum().item() for v in meant.values()), rel=1e-3)
    reverted = edit(tmp_path / "run", tmp_path / "back", revert=("v_proj",))
    with safe_open(tmp_path / "back" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert reverted.survived == 1


def write_adapters(folder):
    """A base of one block and two states that are adapters of it."""
    tiny_model(0, blocks=1, width=16, head=4).save_pretrained(folder / "state_0")
    for n in (1, 2):
        torch.manual_seed(n)
        config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        model = Qwen3ForCausalLM.from_pretrained(folder / "state_0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by names of older releases
            get_peft_model(model, config).save_pretrained(folder / f"state_{n}")
    write_manifest(folder, steps=2, probes=None)


def test_an_adapter_is_written_out_whole(tmp_path):
    folder = tmp_path / "run"
    write_adapters(folder)
    edit(folder, tmp_path / "out", scale=0.25)
    base, made = weights(folder / "state_0"), weights(tmp_path / "out")
    low = [load_file(folder / f"state_{n}" / "adapter_model.safetensors") for n in (1, 2)]
    for name, value in made.items():
        module = "base_model.model." + name.removesuffix(".weight")
        if f"{module}.lora_A.weight" in low[0]:
            first, second = (2 * x[f"{module}.lora_B.weight"] @ x[f"{module}.lora_A.weight"] for x in low)
            torch.testing.assert_close(value, base[name] + first + 0.25 * (second - first), atol=1e-6, rtol=1e-5)
        else:
            assert torch.equal(value, base[name])


@pytest.mark.parametrize("kind", ["scale", "top", "project", "transplant"])
def test_an_edit_of_adapters_beside_the_model_scores_as_the_weights_written(tmp_path, kind):
    write_adapters(tmp_path)
    paths = [tmp_path / f"state_{n}" for n in range(3)]
    whole = open_checkpoint(paths[0])
    base, first, second = (model_state(open_model(path, base=whole), base=whole) for path in paths)
    runner = ModelRunner.load(first, base=paths[0], device=torch.device("cpu"))
    probes = TaskProbes("t", tuple(TaskProbe((*range(3, 9), n), 2, 0, "", "judging", 0) for n in range(9, 19)), 0)
    bases = TaskBases(first, base, make_settings(), torch.device("cpu"))
    scorer = EditScorer(runner, second, {"t": probes}, 2048, ("run",), lost=[bases], own=(second, base))
    own = Edit(
        kind, kind, ("model.layers.0.self_attn.q_proj",) if kind in ("scale", "top") else (), 0.5 * (kind == "scale")
    )
    losses = scorer.score(own, "judging")["t"].loss
    (tmp_path / "out").mkdir()
    for file in (tmp_path / "state_0").glob("*.json"):
        (tmp_path / "out" / file.name).write_bytes(file.read_bytes())
    EditedState(runner, second, scorer._multipliers(own)).write(tmp_path / "out")
    written = ModelRunner.load(ModelState(open_checkpoint(tmp_path / "out")), base=paths[0], device=torch.device("cpu"))
    assert [s.loss for s in score_examples(written.model, probes.examples)] == pytest.approx(losses.tolist(), abs=1e-5)
    unedited = [s.loss for s in score_examples(runner.model, probes.examples)]
    assert max(abs(a - b) for a, b in zip(unedited, losses, strict=True)) > 0.01


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({}, "an edit does one thing; give one of --scale, --revert and --project"),
        ({"scale": 0.5, "project": True}, "an edit does one thing"),
        ({"scale": 1.5}, "scale is 1.5; it must be in 0..1"),
    ],
)
def test_an_edit_is_one_of_three(what, message):
    with pytest.raises(SettingsError) as error:
        StepEdit(**what)
    assert message in str(error.value)


def test_what_does_not_exist_is_refused(run, tmp_path):
    with pytest.raises(SettingsError, match=r"no group is named 'z_proj'.*q_proj"):
        edit(run, tmp_path / "out", revert=("z_proj",))
    with pytest.raises(SettingsError, match="step is 3"):
        edit(run, tmp_path / "out", step=3, scale=0.5)
    with pytest.raises(SettingsError, match="no task was trained before the step"):
        edit(run, tmp_path / "out", step=1, project=True)
    with pytest.raises(SettingsError, match="there is no run 'other'"):
        edit_step(run, run="other", step=1, edit=StepEdit(scale=0.5), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(SettingsError, match="the folder is not empty"):
        edit(run, tmp_path / "full", scale=0.5)


def test_the_command_line(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["edit", str(run), "--run", "tiny", "--step", "2", "--project", "--out", str(tmp_path / "out")])
    assert not stopped.value.code
    first, second = capsys.readouterr().out.splitlines()
    assert "the old tasks' input directions projected out of the step" in first
    assert second == "100.0% of the edit survived rounding"
