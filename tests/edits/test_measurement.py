"""Edits of a run: scores as of a model built by hand, rows as of their formulas, restart, budget."""

from __future__ import annotations

import shutil
from statistics import fmean

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from geodiag.checkpoints import open_checkpoint
from geodiag.errors import StoreError
from geodiag.explain.step_flags import judged_step, step_flags
from geodiag.extraction.measurements.attribution.subspaces import TaskBases
from geodiag.extraction.measurements.edits.catalogue import Edit
from geodiag.extraction.measurements.edits.scoring import EditScorer
from geodiag.extraction.measurements.edits.settings import EditOptions
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.jobs import Silent, Work, plan_all
from geodiag.models.groups import tensor_hash
from geodiag.models.probes import run_probes
from geodiag.models.runner import ModelRunner, exact_arithmetic
from geodiag.models.scores import score_examples
from geodiag.models.states import model_state
from geodiag.runs import load_manifest
from geodiag.store import StoreReader
from tests.edits.runs import measure


@pytest.fixture(scope="session")
def folder(run, start):
    """The folder of the run, with its edits in `store`."""
    shutil.copytree(start, run.parent / "store")
    assert measure(run, run.parent / "store", "edits").detail == "edits of 1 step"
    return run.parent


def table(store, name):
    frame = StoreReader(store).scan(name).collect()
    return frame.sort([c for c in ("edit", "half", "task", "example") if c in frame.columns])


def states(folder):
    return [load_file(folder / "run" / f"state_{n}" / "model.safetensors") for n in (1, 2)]


def model_with(folder, weights):
    model = Qwen3ForCausalLM.from_pretrained(folder / "run" / "state_0", attn_implementation="sdpa")
    model.load_state_dict(weights)
    return model.eval()


def edited(folder, edit):
    """The definition: before + M (after - before), group by group."""
    before, after = states(folder)
    if edit == "scale 0.5":
        return {name: before[name] + 0.5 * (after[name] - before[name]) for name in before}
    put_back = {"revert q_proj": "q_proj", "revert norms": "norm.weight", "revert block 1": "layers.1."}[edit]
    kept = "layers.1.input_layernorm", "layers.1.post", "layers.1.self_attn.q_norm", "layers.1.self_attn.k_norm"
    return {
        name: before[name] if put_back in name and not (put_back == "layers.1." and any(k in name for k in kept)) else w
        for name, w in after.items()
    }


def half_of(folder, half):
    frame = StoreReader(folder / "store").scan("examples").collect().filter(step=0, task="alpha", half=half)
    return frame.sort("example")["example"].to_list()


@pytest.mark.parametrize("edit", ["scale 0.5", "revert q_proj", "revert norms", "revert block 1"])
def test_an_edit_scores_as_the_state_built_by_hand(folder, edit):
    model = model_with(folder, edited(folder, edit))
    rows = table(folder / "store", "edit_examples").filter(edit=edit, task="alpha").sort("example")
    probes = run_probes(load_manifest(folder / "run")).tasks["alpha"]
    own = [probes.examples[n] for n in probes.of_half("choosing")]
    with exact_arithmetic():
        together = score_examples(model, own)
    assert rows.filter(pl.col("example").is_in(probes.of_half("choosing")))["loss"].to_list() == [
        s.loss for s in together
    ]
    for example, loss in zip(own, rows["loss"], strict=False):
        ids = torch.tensor([example.ids])
        with torch.no_grad():
            log_p = model.double()(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        places = range(len(example.ids) - example.n_target, len(example.ids))
        assert loss == pytest.approx(-fmean(log_p[at - 1, ids[0, at]].item() for at in places), abs=1e-5)


def test_shares_are_ratios_of_means(folder):
    examples, rows = table(folder / "store", "edit_examples"), table(folder / "store", "edits")
    probes = set(half_of(folder, "judging"))

    def mean(edit, task, column):
        own = examples.filter((pl.col("edit") == edit) & (pl.col("task") == task))
        own = own.filter(pl.col("example").is_in(probes))
        return own[column].mean()

    judged = rows.filter(half="judging")
    assert set(judged["kind"]) >= {"scale", "random", "complement", "project", "project_random", "transplant"}
    assert len(judged.filter(kind="random", task="alpha")) == 19
    for row in judged.filter(task="alpha").iter_rows(named=True):
        edit = row["edit"]
        before, after, now = (mean(name, "alpha", "p_target") for name in ("before", "after", edit))
        assert row["restored_p"] == pytest.approx((now - after) / (before - after))
        assert row["restored_low"] < row["restored_p"] < row["restored_high"]
        assert row["kept"] is None
    for row in judged.filter(task="beta").iter_rows(named=True):
        before, after, now = (mean(name, "beta", "loss") for name in ("before", "after", row["edit"]))
        assert row["kept_loss"] == pytest.approx((before - now) / (before - after))
        assert row["restored_p"] is None


def test_a_set_and_its_complement_are_the_whole_step(folder):
    rows = table(folder / "store", "edits").filter(half="judging", task="alpha")
    (rest,) = rows.filter(kind="complement").iter_rows(named=True)
    (own,) = rows.filter(edit=rest["edit"].removeprefix("complement of ")).iter_rows(named=True)
    assert rest["squared_share"] + own["squared_share"] == pytest.approx(1)
    assert not set(rest["groups"]) & set(own["groups"])
    before, after = states(folder)
    delta = {name: (after[name] - before[name]).double().square().sum().item() for name in before}
    by_hand = sum(delta[f"{group}.weight"] for group in own["groups"]) / sum(delta.values())
    assert own["squared_share"] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("at", [45, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_it_goes_on_and_gives_the_same_bits(folder, tmp_path, at):
    class Stops(Silent):
        parts = 0

        def part_done(self, run, part):
            self.parts += 1
            if self.parts == at:
                raise KeyboardInterrupt

    shutil.copytree(folder / "start", tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        measure(folder / "run", tmp_path / "s", "edits", progress=Stops())
    assert not StoreReader(tmp_path / "s").has("edits")
    measure(folder / "run", tmp_path / "s", "edits")
    for name in ("edits", "edit_examples"):
        assert table(tmp_path / "s", name).equals(table(folder / "store", name))
    assert measure(folder / "run", tmp_path / "s", "edits").detail == "edits unchanged"


def test_the_budget_names_what_it_leaves_out(folder, tmp_path):
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    shutil.copytree(folder / "start", tmp_path / "s")
    options = {"edits": EditOptions(budget=0.001)}
    outcome = measure(folder / "run", tmp_path / "s", "edits", settings=options, progress=Notes())
    assert outcome.detail == "no edits: no step lost an old task with probes enough"
    (note,) = [note for note in notes if "budget" in note]
    assert note.startswith("run tiny: the edits of step 2 (p_target of alpha fell by 0.")


def test_they_need_losses_and_attribution(folder, tmp_path):
    measure(folder / "run", tmp_path / "s", "geometry")
    with pytest.raises(StoreError, match=r"edits build on losses, which were not measured.*--measure losses"):
        measure(folder / "run", tmp_path / "s", "edits")
    with pytest.raises(StoreError, match="modes build on losses, which were not measured"):
        measure(folder / "run", tmp_path / "s", "modes")
    measure(folder / "run", tmp_path / "s", "losses")
    with pytest.raises(StoreError, match="edits build on attribution, which was not measured"):
        measure(folder / "run", tmp_path / "s", "edits")


def test_projections_and_transplants_equal_dense_products_and_leave_the_weights(folder):
    base, first, second, own = (
        open_checkpoint(folder / "run" / name) for name in ("state_0", "state_1", "state_2", "expert_2")
    )
    states_ = [model_state(weights, base=base) for weights in (base, first, second, own)]
    runner = ModelRunner.load(states_[1], base=folder / "run" / "state_0", device=torch.device("cpu"))
    before = {name: tensor_hash(tensor) for name, tensor in runner.tensors.items()}
    bases = TaskBases(states_[1], states_[0], make_settings(), torch.device("cpu"))
    probes = {"alpha": run_probes(load_manifest(folder / "run")).tasks["alpha"]}
    scorer = EditScorer(runner, states_[2], probes, 2048, ("run",), lost=[bases], own=(states_[3], states_[0]))
    slot = runner.groups["model.layers.0.self_attn.q_proj"].slots[0]
    start, end, expert, zero = (state.read(slot) for state in (*(states_[n] for n in (1, 2, 3, 0)),))
    V = torch.linalg.svd((start - zero).double()).Vh[:2].mT.float()  # q = 16 / 8
    expected = {"project": start + (end - start) @ (torch.eye(16) - V @ V.mT), "transplant": start + expert - zero}
    for kind, weight in expected.items():
        edit = Edit(kind, kind)
        scorer.score(edit, "judging")
        with runner.edited(states_[2], scorer._multipliers(edit)):
            torch.testing.assert_close(runner.tensors[slot.parameter].data, weight, atol=1e-5, rtol=1e-4)
    assert {name: tensor_hash(tensor) for name, tensor in runner.tensors.items()} == before


def test_flags_read_back_what_was_judged(folder):
    judging = StoreReader(folder / "store").scan("examples").collect().filter(step=0, half="judging")
    rows, examples = table(folder / "store", "edits"), table(folder / "store", "edit_examples")
    edits, step = judged_step(rows, examples, judging=judging, new="beta")
    assert (step.lost, step.new) == (("alpha",), "beta")
    assert {edit.kind for edit in edits} >= {"scale", "project", "transplant"}
    flags = step_flags(edits, step)
    assert len(flags.flags) == 1
    for verdict in flags.verdicts:
        (row,) = rows.filter(half="judging", edit=verdict.edit.name, task="alpha").iter_rows(named=True)
        interval = verdict.judgement.restored
        assert (interval.estimate, interval.low, interval.high) == pytest.approx(
            (row["restored_p"], row["restored_low"], row["restored_high"])
        )
    (chosen,) = [verdict for verdict in flags.verdicts if verdict.edit.complement is not None]
    assert len(chosen.edit.controls) == 19
    (projected,) = [verdict for verdict in flags.verdicts if verdict.edit.kind == "project"]
    assert len(projected.edit.controls) == 1


def test_a_dry_run_says_what_it_takes_at_most(folder, tmp_path):
    work = Work(store=tmp_path / "s", measured=("geometry", "edits", "modes"), device="cpu")
    lines = list(plan_all(folder / "run", work, timed=False))
    (first,) = [n for n, line in enumerate(lines) if "edits of steps that lost" in line]
    assert lines[first].endswith("at most 1 step, about 56 edits each")
    tasks = run_probes(load_manifest(folder / "run")).tasks.values()
    tokens = sum(len(example.ids) for task in tasks for example in task.examples)
    assert lines[first + 1].startswith(f"{56 / 2 * tokens / 1e6:.2f} million tokens forward at most, model in float32")
    assert "run tiny: modes of 1 old task over all steps, 3 forward passes over a task's examples" in lines
