"""The table of gradients against autograd in float64, example by example, and what a run may bring."""

from __future__ import annotations

import gc
import itertools
import json
import shutil
import sys
import warnings
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM

import geodiag
from geodiag.errors import CheckpointError, ProbesError, SettingsError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients import rows as run
from geodiag.extraction.measurements.gradients.plan import gradient_plan
from geodiag.extraction.measurements.gradients.rows import gradient_rows
from geodiag.extraction.measurements.gradients.settings import GradientOptions
from geodiag.store.schema import TABLES
from tests.extraction.gradient_runs import PROBES, tiny_model, true_gradients, write_manifest, write_probes, write_run

ALL = 2**30


def rows_of(manifest, *, settings=None, options=None, budget=ALL, **how):
    plan = gradient_plan(manifest, settings or GeometrySettings(), options, memory_budget=budget)
    return plan, dict(gradient_rows(plan, device="cpu", **how))


def cosine(a, b):
    return (a * b).sum().item() / (a.norm() * b.norm()).item()


@pytest.fixture(scope="module")
def truth(tiny_run):
    """Step -> task -> (all probes, first half, second half) -> layer -> gradient, in float64."""
    plan = gradient_plan(tiny_run, GeometrySettings())
    found = {}
    for step in plan.steps:
        model = Qwen3ForCausalLM.from_pretrained(tiny_run.steps[step.step - 1].state)
        texts = {task: [(p.prompt, p.target) for p in plan.probes[task]] for task in step.tasks}
        found[step.step] = {
            task: [true_gradients(model, plan.layers, some) for some in (ex, ex[0::2], ex[1::2])]
            for task, ex in texts.items()
        }
    return found


def assert_true(rows, truth):
    for step, found in rows.items():
        for row in found:
            (g_i, *halves_i), (g_j, *halves_j) = (
                [g[row["layer"]] for g in truth[step][row[task]]] for task in ("task_i", "task_j")
            )
            assert row["cos"] == pytest.approx(cosine(g_i, g_j), abs=1e-4)
            assert row["dot"] == pytest.approx((g_i * g_j).sum().item(), rel=1e-4, abs=1e-6)
            assert row["norm_i"] == pytest.approx(g_i.norm().item(), rel=1e-4)
            assert row["norm_j"] == pytest.approx(g_j.norm().item(), rel=1e-4)
            assert row["reliability_i"] == pytest.approx(cosine(*halves_i), abs=1e-4)
            assert row["reliability_j"] == pytest.approx(cosine(*halves_j), abs=1e-4)


@pytest.mark.parametrize(("budget", "passes"), [(ALL, [1, 1]), (170_000, [2, 3])])
@pytest.mark.parametrize("batch_tokens", [1, 2048])
def test_rows_are_the_gradients_taken_example_by_example(tiny_run, truth, budget, passes, batch_tokens):
    plan, rows = rows_of(tiny_run, budget=budget, batch_tokens=batch_tokens)
    assert [len(step.passes) for step in plan.steps] == passes
    assert_true(rows, truth)


def test_rows_are_keyed_as_the_table_and_complete(tiny_run):
    plan, rows = rows_of(tiny_run)
    assert {step: len(found) for step, found in rows.items()} == {2: 14, 3: 42}
    assert {*rows[3][0], "run"} == set(TABLES["gradients"].columns)
    pairs = [("alpha", "beta"), ("alpha", "gamma"), ("beta", "gamma")]
    layers = [(layer.name, layer.block, layer.family) for layer in plan.layers]
    assert [((r["layer"], r["block"], r["family"]), (r["task_i"], r["task_j"])) for r in rows[3]] == list(
        itertools.product(layers, pairs)
    )


def test_only_the_layers_asked_for(tiny_run, truth):
    settings = GeometrySettings(families=("v_proj", "up_proj"), layers=r"\.1\.")
    _, rows = rows_of(tiny_run, settings=settings)
    assert [r["layer"] for r in rows[2]] == ["model.layers.1.self_attn.v_proj", "model.layers.1.mlp.up_proj"]
    assert_true(rows, truth)


def test_steps_that_are_done_are_not_loaded(tiny_run, monkeypatch):
    def refuse(state, **_):
        raise AssertionError(f"{state} was loaded")

    monkeypatch.setattr(run, "load_model", refuse)
    assert list(gradient_rows(gradient_plan(tiny_run, GeometrySettings()), device="cpu", done=(2, 3))) == []


def test_memory_of_a_run_decides_who_is_compared(tiny_run):
    last_two = write_manifest(tiny_run.path.parent, memory=2)
    assert [step.tasks for step in gradient_plan(last_two, GeometrySettings()).steps] == [
        ("alpha", "beta"),
        ("beta", "gamma"),
    ]
    anchor = gradient_plan(write_manifest(tiny_run.path.parent, memory="anchor"), GeometrySettings())
    assert anchor.steps == ()
    assert anchor.notes == ("run tiny: no step has two active tasks with probes, so there are no gradients",)


def test_one_model_is_in_memory_at_a_time(tiny_run, monkeypatch):
    alive, load = [], run.load_model

    def watched(*args, **kwargs):
        assert [ref for ref in alive if ref() is not None] == []
        model = load(*args, **kwargs)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(run, "load_model", watched)
    gc.collect()
    gc.disable()
    try:
        rows_of(tiny_run, budget=170_000)
    finally:
        gc.enable()
    assert len(alive) == 2


def test_bfloat16_is_near_and_adds_up_in_float32(tiny_run, truth):
    _, rows = rows_of(tiny_run, options=GradientOptions(precision="bfloat16"), batch_tokens=1)
    errors = [abs(r["cos"] - cosine(*(truth[3][r[t]][0][r["layer"]] for t in ("task_i", "task_j")))) for r in rows[3]]
    assert 1e-5 < max(errors) < 0.1  # 8 bits of mantissa through two blocks


def test_a_zero_gradient_has_no_cosine(tmp_path):
    manifest = write_run(tmp_path, steps=2)
    model = Qwen3ForCausalLM.from_pretrained(manifest.steps[1].state)
    torch.nn.init.zeros_(model.model.layers[1].mlp.down_proj.weight)  # then gate and up of that block do not matter
    model.save_pretrained(manifest.steps[1].state)
    _, rows = rows_of(manifest)
    dead = {"model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"}
    assert {r["layer"] for r in rows[2] if r["cos"] is None} == dead
    assert all((r["norm_i"], r["dot"], r["reliability_i"]) == (0, 0, None) for r in rows[2] if r["layer"] in dead)


def test_one_probe_has_no_reliability_and_that_is_said(tiny_run):
    plan, rows = rows_of(tiny_run, options=GradientOptions(probes_per_task=1))
    assert {r["reliability_i"] for r in rows[3]} == {None}
    assert all(abs(r["cos"]) <= 1 for r in rows[3])
    assert "one probe only of alpha, beta, gamma, so its reliability is unknown" in plan.notes[0]


# --- probes that do not fit the run


def test_a_task_without_probes_is_left_out_and_said_or_refused(tiny_run):
    folder = tiny_run.path.parent
    some = [p for p in PROBES if p[0] != "beta"] + [("betta", "a", "b")]
    write_probes(folder / "some.jsonl", some)
    manifest = write_manifest(folder, probes="some.jsonl")
    plan = gradient_plan(manifest, GeometrySettings())
    assert [(step.step, step.tasks) for step in plan.steps] == [(3, ("alpha", "gamma"))]
    told = f"{folder}/some.jsonl: no probes of beta (there are some of betta)"
    assert plan.notes == (f"{told}; pairs with them are left out",)
    with pytest.raises(ProbesError) as caught:
        gradient_plan(manifest, GeometrySettings(), strict=True)
    assert str(caught.value) == told.replace("l: no", "l: run tiny: no") + "; name tasks as in run.yaml"


def test_probes_of_one_task_alone_are_refused(tiny_run):
    write_probes(tiny_run.path.parent / "one.jsonl", [p for p in PROBES if p[0] == "beta"])
    with pytest.raises(ProbesError, match=r"no probes of alpha, gamma; name tasks as in run\.yaml"):
        gradient_plan(write_manifest(tiny_run.path.parent, probes="one.jsonl"), GeometrySettings())


def test_a_run_without_probes_is_told_what_to_add(tiny_run):
    with pytest.raises(ProbesError) as caught:
        gradient_plan(write_manifest(tiny_run.path.parent, probes=None), GeometrySettings())
    assert str(caught.value).endswith(
        "run.yaml: run tiny: gradients need probes, and the manifest names none; "
        "add `probes: probes.jsonl` with lines of task, prompt, target"
    )


def test_cut_prompts_are_said_once(tiny_run):
    said = []
    rows_of(tiny_run, options=GradientOptions(max_length=25), say=said.append)
    long = {task: sum(len(p + t) > 25 for name, p, t in PROBES if name == task) for task in ("alpha", "beta", "gamma")}
    assert 0 < min(long.values()) < 5
    assert said == [
        f"run tiny: prompts cut from the left to 25 tokens: alpha {long['alpha']} of 5, beta {long['beta']} of 5",
        f"run tiny: prompts cut from the left to 25 tokens: gamma {long['gamma']} of 5",
    ]


def test_a_target_that_does_not_fit_is_named(tiny_run):
    with pytest.raises(ProbesError) as caught:
        rows_of(tiny_run, options=GradientOptions(max_length=4))
    place, _, told = str(caught.value).partition(": run tiny, step 2: ")
    assert place.startswith(f"{tiny_run.probes}:")
    assert told.endswith("and one token must come before it; shorten it, or raise max_length above 4")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"probes_per_task": 0}, "gradients: probes per task is 0; it must be a whole number from 1, or None for all"),
        ({"max_length": 1}, "gradients: max length is 1; it must be at least 2 tokens"),
        ({"precision": "float16"}, "gradients: precision is float16; it must be float32 or bfloat16"),
    ],
)
def test_options_out_of_their_range(given, told):
    with pytest.raises(SettingsError) as caught:
        GradientOptions(**given)
    assert str(caught.value) == told


# --- states in other forms, and states that are wrong


@pytest.fixture
def copied(tiny_run, tmp_path):
    """The tiny run in a folder of its own, to be changed."""
    shutil.copytree(tiny_run.path.parent, tmp_path / "run")
    return write_manifest(tmp_path / "run")


def test_a_state_may_be_a_bare_file(copied, truth):
    folder = copied.path.parent
    save_file(load_file(folder / "state_2/model.safetensors"), folder / "two.safetensors")
    steps = [{"task": t, "state": s} for t, s in (("alpha", "state_1"), ("beta", "two.safetensors"))]
    _, rows = rows_of(write_manifest(folder, steps=steps))
    assert_true(rows, truth)


def test_a_state_saved_without_its_head_name_and_tokenizer(copied, truth):
    file = copied.steps[1].state / "model.safetensors"
    save_file({name.removeprefix("model."): w for name, w in load_file(file).items()}, file)
    _, rows = rows_of(copied)
    assert_true(rows, truth)


def test_an_adapter_is_merged_into_the_base(copied):
    from peft import LoraConfig, get_peft_model

    folder = copied.path.parent
    torch.manual_seed(5)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
        model = get_peft_model(Qwen3ForCausalLM.from_pretrained(copied.base), config)
    model.save_pretrained(folder / "adapter")
    model.merge_and_unload().save_pretrained(folder / "merged")
    found = []
    for state in ("adapter", "merged"):
        steps = [{"task": t, "state": s} for t, s in (("alpha", "state_1"), ("beta", state))]
        _, rows = rows_of(write_manifest(folder, steps=steps))
        found.append([(r["layer"], pytest.approx(r["cos"], abs=1e-5)) for r in rows[2]])
    assert found[0] == found[1]


def stored_gradients(folder, store, *, state, base):
    steps = [{"task": task, "state": state.format(step)} for step, task in ((1, "alpha"), (2, "beta"))]
    write_manifest(folder, steps=steps, base=base)
    (outcome,) = geodiag.extract(folder, store=store, gradients=True).outcomes
    assert outcome.status == "done", outcome.detail
    return geodiag.open_store(store).scan("gradients").collect().sort("step", "layer").to_dicts()


@pytest.fixture(scope="module")
def saved_forms(tmp_path_factory):
    """States of two steps in every form (whole and adapters, folders and files), and the gradients of whole folders."""
    from peft import LoraConfig, get_peft_model

    folder = write_run(tmp_path_factory.mktemp("forms"), steps=1).path.parent
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    for step in (1, 2):
        torch.manual_seed(step)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
            model = get_peft_model(Qwen3ForCausalLM.from_pretrained(folder / "state_0"), config, adapter_name="biology")
        model.save_pretrained(folder / f"above_{step}")
        shutil.copytree(folder / f"above_{step}" / "biology", folder / f"adapter_{step}")
        model.merge_and_unload().save_pretrained(folder / f"merged_{step}")
        (folder / f"renamed_{step}").mkdir()
        for source, name in (("config.json", "config.json"), ("model.safetensors", "other.safetensors")):
            shutil.copy(folder / f"merged_{step}" / source, folder / f"renamed_{step}" / name)
    store = tmp_path_factory.mktemp("store")
    return folder, stored_gradients(folder, store / "whole", state="merged_{}", base="state_0")


@pytest.mark.parametrize("base", ["state_0", "state_0/model.safetensors"])
@pytest.mark.parametrize(
    "form",
    [
        *("merged_{}", "merged_{}/model.safetensors", "renamed_{}", "renamed_{}/other.safetensors"),
        *("adapter_{}", "above_{}", "above_{}/biology"),
        *("adapter_{}/adapter_model.safetensors", "adapter_{}/adapter_config.json"),
    ],
)
def test_gradients_accept_every_form_that_geometry_accepts(saved_forms, tmp_path, form, base):
    """A state's form and the base's change neither what is measured nor the values."""
    folder, expected = saved_forms
    rows = stored_gradients(folder, tmp_path / "store", state=form, base=base)
    assert len(rows) == len(expected) == 14
    for row, right in zip(rows, expected, strict=True):
        assert row == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("key", ["text_config", "llm_config", "language_config"])
def test_positions_are_those_of_the_language_model(copied, key):
    file = copied.base / "config.json"
    file.write_text(json.dumps({"model_type": "of_images_too", key: json.loads(file.read_text())}))
    assert gradient_plan(copied, GeometrySettings()).max_length == 128


def complaint(manifest):
    with pytest.raises((CheckpointError, SettingsError)) as caught:
        rows_of(manifest)
    return str(caught.value).replace(f"{manifest.path.parent}/", "")


def test_a_missing_weight_is_not_made_up(copied):
    file = copied.steps[1].state / "model.safetensors"
    weights = load_file(file)
    del weights["model.norm.weight"], weights["model.layers.0.input_layernorm.weight"]
    save_file(weights, file)
    assert complaint(copied) == (
        "state_2: run tiny, step 2, tensor model.layers.0.input_layernorm.weight: "
        "2 of the model's weights are missing; save the checkpoint with all of them"
    )


def test_a_state_of_another_size_is_refused(copied):
    tiny_model(0, width=16).save_pretrained(copied.path.parent / "small")
    save_file(load_file(copied.path.parent / "small/model.safetensors"), copied.steps[1].state / "model.safetensors")
    told = complaint(copied)
    assert told.startswith("state_2: run tiny, step 2: cannot be loaded as a causal language model (")
    assert told.endswith("; the configuration is state_2/config.json")


def test_no_tokenizer_says_where_it_is_looked_for(copied):
    for file in copied.base.glob("tokenizer*"):
        file.unlink()
    assert complaint(copied) == (
        "state_0: run tiny, step 2: neither the state nor the base has a tokenizer; "
        "save it there: tokenizer.save_pretrained(folder)"
    )


def test_a_foreign_tokenizer_is_refused_before_it_reads_past_the_embeddings(copied):
    small = Qwen3ForCausalLM.from_pretrained(copied.steps[1].state)
    small.resize_token_embeddings(60)
    small.save_pretrained(copied.steps[1].state)
    assert complaint(copied) == (
        "state_2: run tiny, step 2: the tokenizer gives token 220, and the model has 60 embeddings; "
        "save the state with its own tokenizer"
    )


def test_weights_that_explode_are_named(copied):
    file = copied.steps[1].state / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, file)
    told = complaint(copied)
    assert told.startswith("run tiny, step 2, tensor model.layers.")
    assert told.endswith("a gradient is infinite or not a number; see whether the model's loss is finite")


def test_a_full_device_says_what_to_lower(tiny_run, monkeypatch):
    def full(*_args, **_how):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "load_model", full)
    assert complaint(tiny_run) == (
        "run tiny, step 2: the device's memory does not hold the model, a micro-batch and 1.0 GiB; "
        "lower the memory budget or batch tokens, or compute in bfloat16"
    )


def test_without_transformers_the_extra_is_named(tiny_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert complaint(tiny_run) == (
        "run tiny, step 2: gradients need transformers, which is not installed; pip install 'geodiag[models]'"
    )


@pytest.mark.gpu
@pytest.mark.parametrize("budget", [ALL, 170_000])
def test_a_gpu_gives_the_same_rows(tiny_run, truth, budget):
    plan = gradient_plan(tiny_run, GeometrySettings(), memory_budget=budget)
    assert_true(dict(gradient_rows(plan, device="cuda")), truth)


def test_pickles_are_refused(copied):
    (copied.steps[1].state / "model.safetensors").unlink()
    (copied.steps[1].state / "pytorch_model.bin").write_bytes(b"x")
    assert "the weights are pickles, which run code when loaded" in complaint(copied)
