"""The allocation of a step equals a float64 path integral of 64 points, and sums to the loss change."""

from __future__ import annotations

import copy

import pytest
import torch

from geodiag.checkpoints import open_checkpoint, open_model
from geodiag.extraction.measurements.attribution.rows import allocation_rows
from geodiag.extraction.measurements.attribution.step import StepPath
from geodiag.models.runner import ModelRunner
from geodiag.models.states import model_state
from tests.attribution import oracle

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


@pytest.mark.parametrize("tied", [False, True])
def test_every_group_equals_the_path_integral(tmp_path, tied):
    before = oracle.model_of("qwen3", 1, tied=tied)
    after = oracle.moved(before, 2, 0.03)
    path = path_of(tmp_path, saved(before, tmp_path / "a"), saved(after, tmp_path / "b"))
    texts = oracle.examples(5)
    allocation, rows = rows_of(path, texts)
    reference = by_group(oracle.path_integral(before, after, texts, points=64), path)
    assert ("lm_head" in rows) != tied
    check(rows, reference, texts)
    delta = sum((oracle.loss(after, t) - oracle.loss(before, t)).item() for t in texts) / len(texts)
    assert sum(row["allocation"] for row in rows.values()) == pytest.approx(delta, abs=1e-3)
    assert allocation.integral.delta_loss == pytest.approx(delta, abs=1e-5)
    assert rows["norm"]["converged"] is True and abs(rows["norm"]["residual"]) <= 1e-3 + 0.05 * abs(delta)
    step = oracle.difference(before, after)
    norm = sum(d.square().sum() for d in step.values())
    name = "model.layers.1.mlp.up_proj"
    assert rows[name]["squared_share"] == pytest.approx((step[f"{name}.weight"].square().sum() / norm).item(), rel=1e-4)
    for column, model in (("first_order", before), ("end_order", after)):
        by_hand = [(oracle.gradient(model, t)[f"{name}.weight"] * step[f"{name}.weight"]).sum().item() for t in texts]
        assert rows[name][column] == pytest.approx(sum(by_hand) / len(texts), abs=1e-5)
