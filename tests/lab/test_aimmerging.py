"""AIMMerging: the rule on scripted losses, and the merge's arithmetic."""

import pytest
import torch

from geodiag.lab.config import AimOptions, LabConfig, ModelShape, Training
from geodiag.lab.strategies import Lesson, aimmerging
from geodiag.lab.strategies.aimmerging import AimMerging, MergeSchedule
from geodiag.lab.suite import generator_of
from geodiag.lab.training import fit

CONFIG = LabConfig(
    run="r",
    size="s",
    method="aimmerging",
    model=ModelShape(layers=1, width=8, ffn=8),
    training=Training(steps=1, batch=8, lr=1e-3),
)


def rule(interval=8):
    return MergeSchedule(interval=interval, shortest=2, longest=128)


def run(clock, losses, start=1):
    """The first step at which the rule merges, given the losses from `start` on."""
    for step, loss in enumerate(losses, start):
        if clock.observe(step, loss):
            return step
    return None


def test_the_threshold_is_twice_the_mean_of_the_first_losses():
    clock = rule(8)  # int(16/3) + 1 = 6 losses
    run(clock, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert clock.threshold is None
    clock.observe(6, 9.0)
    assert clock.threshold == pytest.approx(2 * 24 / 6)


def test_calm_memory_is_merged_by_force_an_interval_after_it_was_due():
    assert run(rule(8), [1.0] * 40) == 16


def test_an_alarm_before_the_due_step_waits_for_it():
    assert run(rule(8), [1.0] * 6 + [2.0] + [1.0] * 20) == 8


def test_an_alarm_after_the_due_step_merges_at_once():
    assert run(rule(8), [1.0] * 10 + [2.0] + [1.0] * 20) == 11


def test_losses_of_the_first_window_raise_no_alarm():
    assert run(rule(8), [100.0, *[1.0] * 20]) == 16


def test_three_alarms_do_not_wait():
    clock = rule(30)  # int(60/3) + 1 = 21 losses; due at 30
    assert run(clock, [1.0] * 21 + [5.0] * 9) == 24
    assert clock.flags == 3


@pytest.mark.parametrize(
    ("interval", "flags", "weights"),
    [
        (8, 1, (0.6, 0.4)),
        (8, 2, (0.5, 0.5)),
        (70, 1, (0.6, 0.4)),
        (70, 3, (0.5, 0.5)),
        (71, 1, (0.5, 0.5)),
        (71, 2, (0.4, 0.6)),
    ],
)
def test_the_table_of_weights(interval, flags, weights):
    clock = rule(interval)
    clock.flags = flags
    assert clock.weights() == weights


def intervals(moved_a_step, interval=8):
    """The interval after each merge, for scripted learning signals."""
    clock, found = rule(interval), []
    for k, signal in enumerate(moved_a_step):
        assert clock.merged(10 * k, moved=signal * clock.interval) == pytest.approx(signal)
        found.append(clock.interval)
    return found


def test_the_first_three_merges_leave_the_interval():
    assert intervals([1.0, 5.0, 0.1]) == [8, 8, 8]


@pytest.mark.parametrize(
    ("interval", "last", "signal", "wanted"),
    [
        (8, 1.0, 1.0, 8),  # 8 * 1
        (8, 1.0, 2.0, 4),  # 8 / 2
        (8, 1.0, 100.0, 2),  # no shorter than 2
        (128, 1.0, 1.6, 40),  # 80 is still 64 or more: halved again
        (128, 1.0, 4.0, 32),
        (8, 2.0, 1.0, 24),  # 8 * (2 + 1)
        (100, 1.5, 1.0, 128),  # 100 * (1.5 + 0.5), no longer than 128
        (64, 1.25, 1.0, 112),  # 64 * (1.25 + 0.5)
        (63, 1.25, 1.0, 128),  # 63 * (1.25 + 1) = 141
    ],
)
def test_later_merges_adapt_the_interval(interval, last, signal, wanted):
    assert intervals([last, last, last, signal], interval)[-1] == wanted


def test_a_merge_starts_the_next_one_anew():
    clock = rule(8)
    run(clock, [1.0] * 16)
    clock.merged(16, moved=1.0)
    assert (clock.due, clock.flags, clock.threshold) == (24, 0, None)
    assert run(clock, [1.0] * 6 + [9.0] * 9, start=17) == 24


def started(model, encoded, *, memory):
    aim = AimMerging(AimOptions(interval=2))
    aim.begin(Lesson(model, encoded["copy"], memory, CONFIG, generator_of("aim")))
    return aim


def test_a_merge_averages_both_moves(model, encoded, monkeypatch):
    """The new task adds 1 to every weight, the rehearsal another 10: theta + 0.6 * 1 + 0.4 * 10."""

    def rehearsed(model, optimizer, batches, *, clip):
        assert len(list(batches)) == 2  # S steps
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 10.0

    monkeypatch.setattr(aimmerging, "rehearse", rehearsed)
    aim = started(model, encoded, memory=encoded["facts"])
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    aim.schedule.flags = 1
    aim._merge(None, step=2, loss=1.0)
    for parameter, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), old + 4.6)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert aim.events[0]["signal"] == pytest.approx(size / 2, rel=1e-4)
    torch.testing.assert_close(aim.merged[0], before[0] + 4.6)


def test_in_training_it_merges_and_says_so(model, encoded):
    aim = started(model, encoded, memory=encoded["facts"])
    fit(model, encoded["copy"], training=Training(steps=20, batch=8, lr=1e-3), rng=generator_of(0), callbacks=[aim])
    record = aim.end()
    assert record["memory_items"] == 64
    assert record["merges"]
    steps = [merge["step"] for merge in record["merges"]]
    assert steps == sorted(set(steps))
    assert all(2 <= merge["interval"] <= 128 for merge in record["merges"])


def test_the_first_task_is_plain_training(model, encoded):
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training = Training(steps=10, batch=8, lr=1e-3)
    aim = started(model, encoded, memory=None)
    fit(model, encoded["copy"], training=training, rng=generator_of(0), callbacks=[aim])
    merged = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(start)
    fit(model, encoded["copy"], training=training, rng=generator_of(0))
    assert all(torch.equal(merged[name], tensor) for name, tensor in model.state_dict().items())
    assert aim.end()["merges"] == []
