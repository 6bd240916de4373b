"""Passes: how layers are split by a budget, that relayed passes compute the same, and what they hold."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from geodiag.checkpoints import Layer
from geodiag.common.schema import FAMILIES
from geodiag.errors import SettingsError
from geodiag.extraction.measurements.geometry.settings import GeometrySettings
from geodiag.extraction.measurements.gradients import compare
from geodiag.extraction.measurements.gradients.compare import RELAYED, compare_tasks
from geodiag.extraction.measurements.gradients.held import bytes_text, gradient_bytes, split_layers
from geodiag.extraction.measurements.gradients.plan import gradient_plan
from geodiag.models.batches import EncodedProbe
from tests.extraction.gradient_runs import BYTES, random_model, tiny_model

MODULES = {family: "mlp" if family in FAMILIES[4:] else "self_attn" for family in FAMILIES}


def layers_of(model):
    """The target layers of a model, without a checkpoint."""
    named = dict(model.named_parameters())
    tensors = [
        (block, family, f"model.layers.{block}.{MODULES[family]}.{family}.weight")
        for block in range(model.config.num_hidden_layers)
        for family in FAMILIES
    ]
    return [Layer(t.removesuffix(".weight"), b, f, *named[t].shape, "float32", t) for b, f, t in tensors]


def sizes(layers):
    return {layer.tensor: layer.d_out * layer.d_in for layer in layers}


def layer(number, n, *, block=None):
    return Layer(f"l{number}", number if block is None else block, "q_proj", n, 1, "float32", f"l{number}.weight")


def random_probes(*, tasks, n, longest, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def one():
        length = int(torch.randint(3, longest + 1, (), generator=rng))
        ids = torch.randint(len(BYTES), (length,), generator=rng).tolist()
        return EncodedProbe(tuple(ids), 1 + length // 3, 0)

    return [[one() for _ in range(n)] for _ in range(tasks)]


# --- splitting


def test_bytes_held_are_one_gradient_a_task_one_half_and_what_is_on_its_way():
    # Two layers of 100 and 50 entries, 3 tasks: 4 float32 places of each, and the larger's Gram in float64.
    layers = [layer(0, 100), layer(1, 50)]
    assert gradient_bytes(layers, 3, sizes(layers)) == 4 * 4 * 150 + 8 * 3 * 100
    # A tensor that holds much more than the layer comes in as a whole.
    assert gradient_bytes(layers, 3, {"l0.weight": 1000, "l1.weight": 50}) == 4 * 4 * 150 + 4 * 1000


@pytest.mark.parametrize("seed", range(6))
def test_split_is_the_best_of_all_splits_of_neighbours(seed):
    """Against every way to cut: the fewest passes, and among those the highest lowest layers."""
    n_entries = torch.randint(10, 200, (8,), generator=torch.Generator().manual_seed(seed)).tolist()
    layers = [layer(n, size) for n, size in enumerate(n_entries)]
    budget = gradient_bytes([layer(0, max(n_entries))], 2, {"l0.weight": max(n_entries)}) + 12 * 150
    fitting = []
    for cuts in itertools.product([0, 1], repeat=7):
        edges = [0, *(n + 1 for n, cut in enumerate(cuts) if cut), 8]
        groups = [layers[a:b] for a, b in itertools.pairwise(edges)]
        if all(gradient_bytes(group, 2, sizes(layers)) <= budget for group in groups):
            fitting.append((len(groups), -sum(group[0].block for group in groups), groups))
    best = min(fitting, key=lambda split: split[:2])[2]
    found = split_layers(layers[::-1], tasks=2, stored=sizes(layers), budget=budget)
    assert [list(group) for group in found] == best


def test_a_budget_for_less_than_a_layer_is_refused():
    layers = [layer(0, 100), layer(1, 300)]
    with pytest.raises(SettingsError) as caught:
        split_layers(layers, tasks=3, stored=sizes(layers), budget=10_000)
    assert str(caught.value) == (
        "memory budget: 9.8 KiB cannot hold 3 tasks' gradients of layer l1; give at least 11.7 KiB"
    )


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30 * 150, "150 GiB"), (2**52, "4096 TiB")]
)
def test_bytes_are_told_in_the_unit_that_fits(n, text):
    assert bytes_text(n) == text


def test_the_plan_tells_bytes_budget_and_passes(tiny_run):
    plan = gradient_plan(tiny_run, GeometrySettings(), memory_budget=170_000)
    # A block has 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64 = 9216 entries; the largest layer has 2048. At step 3
    # that is 4 places * 4 bytes * 18432 + 3 * 8 bytes * 2048.
    assert plan.lines()[2] == (
        "step 3: 3 tasks in 3 passes: all layers at once take 336 KiB of gradients, the budget is 166 KiB, "
        "a pass takes up to 160 KiB (blocks 0-0, 0-1, 1-1)"
    )
    assert plan.lines()[0].startswith(
        "run tiny: gradients of 14 layers at 2 of 3 steps, 5 probes a task, model in float32"
    )


# --- relaying


def compared(model, passes, probes, *, batch_tokens=40):
    return {c.layer.name: c for c in compare_tasks(model, passes, probes, batch_tokens=batch_tokens)}


@pytest.mark.parametrize("model_type", sorted(RELAYED))
def test_relayed_passes_give_what_one_pass_gives(model_type):
    """For every type that is relayed: blocks cut between and within, and one with passes of its own."""
    model, probes = random_model(model_type), random_probes(tasks=3, n=4, longest=14)
    layers = layers_of(model)
    whole = compared(model, [layers], probes)
    edges = [0, 3, 7, 9, 11, 20, 26, 28]
    split = compared(model, [layers[a:b] for a, b in itertools.pairwise(edges)], probes)
    assert whole.keys() == split.keys()
    for name, one in whole.items():
        torch.testing.assert_close(split[name].gram, one.gram, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(split[name].reliability, one.reliability, rtol=1e-6, atol=1e-9)


def test_relayed_passes_over_chosen_blocks_skip_those_between():
    model, probes = random_model("qwen3", blocks=6), random_probes(tasks=2, n=4, longest=14)
    layers = [layer for layer in layers_of(model) if layer.block in (1, 3)]
    whole = compared(model, [layers], probes)
    split = compared(model, [layers[:7], layers[7:10], layers[10:]], probes)
    for name, one in whole.items():
        torch.testing.assert_close(split[name].gram, one.gram, rtol=1e-6, atol=1e-12)


def test_models_that_are_no_chain_are_run_whole_in_every_pass(monkeypatch):
    model, probes = random_model("qwen3"), random_probes(tasks=2, n=4, longest=14)
    layers = layers_of(model)
    whole = compared(model, [layers], probes)
    monkeypatch.setattr(compare, "RELAYED", frozenset())
    monkeypatch.setattr(compare, "Relay", None)
    split = compared(model, [layers[:10], layers[10:]], probes)
    for name, one in whole.items():
        torch.testing.assert_close(split[name].gram, one.gram, rtol=1e-6, atol=1e-12)


def test_the_model_is_left_as_it_was():
    model, probes = random_model("qwen3"), random_probes(tasks=2, n=4, longest=14)
    layers = layers_of(model)
    compared(model, [layers[:10], layers[10:]], probes)
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not any("forward" in vars(block) for block in model.model.layers)


@pytest.mark.parametrize("relayed", [True, False])
def test_backward_ends_at_the_lowest_layer_asked_for(monkeypatch, relayed):
    model, probes = random_model("qwen3"), random_probes(tasks=1, n=2, longest=14)
    if not relayed:
        monkeypatch.setattr(compare, "RELAYED", frozenset())
    layers, reached = layers_of(model), []
    for n, block in enumerate(model.model.layers):

        def note(_module, _inputs, out, n=n):
            if out.requires_grad:
                reached.append(n)

        block.mlp.register_forward_hook(note)
    compared(model, [layers[14:]], probes)
    assert set(reached) == {2, 3}


# --- memory


def peak_bytes(work):
    """What torch has allocated at most while `work` ran, beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    allocated = peak = 0
    for event in sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            allocated += event.nbytes()
            peak = max(peak, allocated)
    return peak


@pytest.mark.parametrize("relayed", [True, False])
def test_passes_keep_to_their_budget(monkeypatch, relayed):
    """By the allocator's own account; activations of these few tokens come to a few per cent of the budget."""
    if not relayed:
        monkeypatch.setattr(compare, "RELAYED", frozenset())
    model = tiny_model(0, blocks=4, width=256, head=64).requires_grad_(False)
    layers, probes = layers_of(model), random_probes(tasks=3, n=2, longest=6)
    whole = gradient_bytes(layers, 3, sizes(layers))
    budget = whole // 3
    passes = split_layers(layers, tasks=3, stored=sizes(layers), budget=budget)
    assert len(passes) in (4, 5)
    tokens = 2 * 6 * 4 * 256 * 4 * 40  # two probes of six tokens, 40 numbers of model width in each of 4 blocks

    def run(groups):
        list(compare_tasks(model, groups, probes, batch_tokens=64))

    run(passes[:1])  # what torch allocates once for good is none of ours
    assert 0.8 * budget < peak_bytes(lambda: run(passes)) < budget + tokens
    assert 0.8 * whole < peak_bytes(lambda: run([layers])) < whole + tokens
    assert tokens < 0.15 * budget
