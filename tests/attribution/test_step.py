"""The allocation of a step equals a float64 path integral of 64 points, and sums to the loss change."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from geodiag.checkpoints import open_checkpoint, open_model
from geodiag.extraction.measurements.attribution.rows import allocation_rows
from geodiag.extraction.measurements.attribution.step import StepPath
from geodiag.extraction.measurements.attribution.subspaces import TaskBases, random_basis
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.models.runner import ModelRunner
from geodiag.models.states import model_state
from tests.attribution import oracle

POINTS = pytest.mark.parametrize("points", [12, pytest.param(64, marks=pytest.mark.slow)])
"""Of the reference, which is exact for polynomials of degree 2 n - 1."""
NAMES = ("run", "1", "task")


def saved(model, folder):
    copy.deepcopy(model).float().save_pretrained(folder)
    return folder


def path_of(folder, before, after, memory=2**30):
    base = open_checkpoint(folder / "base") if (folder / "base").is_dir() else open_checkpoint(before)
    start, end = (model_state(open_model(p, base=base), base=base) for p in (before, after))
    runner = ModelRunner.load(start, base=base.path, device=torch.device("cpu"))
    return StepPath(runner, end, memory=memory)


def rows_of(path, texts, bases=None, routed=False, **more):
    allocation = path.allocate(texts, batch_tokens=64, bases=bases, names=NAMES, **more)
    choosing = [n % 2 == 0 for n in range(len(texts))]
    rows = allocation_rows(allocation, step=1, task="task", choosing=choosing, routed=routed, by_example=True)
    return allocation, {row["group"]: row for row in rows}


def by_group(reference, path):
    """Allocations by parameter, summed over each group's parameters: by example."""
    sums = {}
    for group in path.groups:
        parameters = dict.fromkeys(slot.parameter for slot in group.slots)
        sums[group.name] = [sum(values) for values in zip(*(reference[p] for p in parameters), strict=True)]
    return sums


def check(rows, expected, texts, tolerance=1e-3):
    for group, values in expected.items():
        row, n = rows[group], len(texts)
        assert row["allocation_examples"] == pytest.approx(values, abs=tolerance), group
        assert row["allocation"] == pytest.approx(sum(values) / n, abs=tolerance), group
        assert row["allocation_choosing"] == pytest.approx(sum(values[::2]) / len(values[::2]), abs=tolerance)
        assert row["allocation_judging"] == pytest.approx(sum(values[1::2]) / len(values[1::2]), abs=tolerance)
        mean = sum(values) / n
        se = (sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5
        assert row["allocation_se"] == pytest.approx(se, abs=tolerance)


@POINTS
@pytest.mark.parametrize("tied", [False, True])
def test_every_group_equals_the_path_integral(tmp_path, tied, points):
    before = oracle.model_of("qwen3", 1, tied=tied)
    after = oracle.moved(before, 2, 0.03)
    path = path_of(tmp_path, saved(before, tmp_path / "a"), saved(after, tmp_path / "b"))
    texts = oracle.examples(3)
    allocation, rows = rows_of(path, texts)
    reference = by_group(oracle.path_integral(before, after, texts, points), path)
    assert ("lm_head" in rows) != tied
    check(rows, reference, texts)
    delta = sum((oracle.loss(after, t) - oracle.loss(before, t)).item() for t in texts) / len(texts)
    assert sum(row["allocation"] for row in rows.values()) == pytest.approx(delta, abs=1e-3)
    assert allocation.integral.delta_loss == pytest.approx(delta, abs=1e-5)
    assert rows["norm"]["converged"] is True
    assert abs(rows["norm"]["residual"]) <= max(1e-3, 0.05 * abs(delta))
    step = oracle.difference(before, after)
    norm = sum(d.square().sum() for d in step.values())
    name = "model.layers.1.mlp.up_proj"
    assert rows[name]["squared_share"] == pytest.approx((step[f"{name}.weight"].square().sum() / norm).item(), rel=1e-4)
    for column, model in (("first_order", before), ("end_order", after)):
        by_hand = [(oracle.gradient(model, t)[f"{name}.weight"] * step[f"{name}.weight"]).sum().item() for t in texts]
        assert rows[name][column] == pytest.approx(sum(by_hand) / len(texts), abs=1e-5)


@POINTS
def test_adapters_stay_factored_and_equal_the_path_integral_of_the_effective_weights(tmp_path, points):
    from peft import LoraConfig, get_peft_model

    base = oracle.model_of("qwen3", 1)
    saved(base, tmp_path / "base")
    effective = []
    for seed, alpha in ((3, 1), (4, 2)):
        torch.manual_seed(seed)
        config = LoraConfig(r=2, lora_alpha=alpha, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by names of older releases
            tuned = get_peft_model(copy.deepcopy(base).float(), config)
            tuned.save_pretrained(tmp_path / f"state{seed}")
        effective.append(tuned.double().merge_and_unload().eval().requires_grad_(False))
    path = path_of(tmp_path, tmp_path / "state3", tmp_path / "state4")
    texts = oracle.examples(3)
    allocation, rows = rows_of(path, texts, levels=(9,))
    check(rows, by_group(oracle.path_integral(*effective, texts, points=points), path), texts)
    assert {slot.group.split(".")[-1] for slot in path.changed} == {"q_proj", "down_proj"}
    for slot in path.changed:
        change = path.change(slot)
        assert change.dense is None
        assert change.left.shape[1] == 4
    assert rows["embedding"]["allocation"] == 0.0
    assert allocation.integral.converged


@pytest.mark.parametrize(
    ("size", "seed", "tolerance", "jump", "points"),
    [
        (0.005, 2, 1e-3, 0.0, 12),  # no token changes its experts
        pytest.param(0.005, 2, 1e-3, 0.0, 64, marks=pytest.mark.slow),
        # One does in one example: beyond the jump itself, its gradients have a break, which 9 points blur.
        pytest.param(0.01, 3, 6e-3, 0.038, 64, marks=pytest.mark.slow),
    ],
)
def test_a_routed_model_has_routers_experts_and_what_its_routing_jumps_by(
    tmp_path, size, seed, tolerance, jump, points
):
    before = oracle.model_of("qwen3_moe", 1)
    after = oracle.moved(before, seed, size)
    path = path_of(tmp_path, saved(before, tmp_path / "a"), saved(after, tmp_path / "b"))
    texts = oracle.examples(3)
    _, rows = rows_of(path, texts, routed=path.routed)
    reference = by_group(oracle.path_integral(before, after, texts, points), path)
    blocks = {f"model.layers.{n}.mlp.{kind}" for n in (0, 1) for kind in ("router", "experts")}
    assert blocks <= rows.keys()
    check(rows, reference, texts, tolerance=tolerance)
    deltas = [(oracle.loss(after, t) - oracle.loss(before, t)).item() for t in texts]
    jumps = [delta - sum(values[n] for values in reference.values()) for n, delta in enumerate(deltas)]
    assert max(jumps) == pytest.approx(jump, abs=1e-3)
    assert rows["routing"]["allocation_examples"] == pytest.approx(jumps, abs=tolerance)
    assert rows["routing"]["family"] == "routing"
    assert sum(row["allocation"] for row in rows.values()) == pytest.approx(sum(deltas) / len(texts), abs=1e-5)


def test_shared_is_the_part_in_the_tasks_own_input_directions(tmp_path):
    """With V known: <grad, Delta V V'> integrated, against the definition; a random basis of the same width beside."""

    class Fixed:
        def of(self, slot):
            return torch.eye(slot.shape[1])[:, :3]

    before = oracle.model_of("qwen3", 1)
    after = oracle.moved(before, 2, 0.03)
    path = path_of(tmp_path, saved(before, tmp_path / "a"), saved(after, tmp_path / "b"))
    texts = oracle.examples(2)
    _, rows = rows_of(path, texts, bases=Fixed())
    name, step = "model.layers.0.mlp.gate_proj", oracle.difference(before, after)
    own = torch.zeros_like(step[f"{name}.weight"])
    own[:, :3] = step[f"{name}.weight"][:, :3]
    other = random_basis(16, 3, names=(*NAMES, name)).double()
    assert torch.allclose(other.T @ other, torch.eye(3).double(), atol=1e-6)
    random = step[f"{name}.weight"] @ other @ other.T
    for column, delta in (("shared", own), ("shared_random", random)):
        reference = oracle.path_integral(before, after, texts, points=12, directions={f"{name}.weight": delta})
        values = reference[f"{name}.weight"]
        assert rows[name][column] == pytest.approx(sum(values) / 2, abs=1e-3)
    overlap = own.square().sum() / step[f"{name}.weight"].square().sum()
    assert rows[name]["step_overlap"] == pytest.approx(overlap.item(), rel=1e-4)
    assert rows["embedding"]["shared"] is None


def test_a_tasks_directions_are_the_right_singular_vectors_of_its_update(tmp_path):
    before = oracle.model_of("qwen3", 1)
    after = oracle.moved(before, 2, 0.03)
    base = open_checkpoint(saved(before, tmp_path / "a"))
    states = (model_state(open_checkpoint(saved(after, tmp_path / "b")), base=base), model_state(base, base=base))
    bases = TaskBases(*states, make_settings(rank=5, energy=1.0), torch.device("cpu"))
    path = path_of(tmp_path, tmp_path / "a", tmp_path / "b")
    slot = next(slot for slot in path.changed if slot.group == "model.layers.1.self_attn.o_proj")
    D = oracle.difference(before, after)["model.layers.1.self_attn.o_proj.weight"]
    V = torch.linalg.svd(D).Vh[:5].T
    found = bases.of(slot).double()
    assert torch.allclose(found @ found.T, V @ V.T, atol=1e-4)


def test_changes_that_do_not_fit_are_read_as_they_are_needed_with_the_same_result(tmp_path):
    before = oracle.model_of("qwen3", 1, tied=True)
    places = saved(before, tmp_path / "a"), saved(oracle.moved(before, 2, 0.02), tmp_path / "b")
    texts = oracle.examples(2)
    held, read = (rows_of(path_of(tmp_path, *places, memory=memory), texts)[1] for memory in (2**30, 0))
    assert held == read
