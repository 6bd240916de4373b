"""FOREVER: events at the thresholds of model time, the pull's formula, and what an event trains on."""

from itertools import islice

import pytest
import torch
from transformers import TrainerCallback

from geodiag.lab.config import ForeverOptions, LabConfig, ModelShape, Training
from geodiag.lab.strategies import Lesson
from geodiag.lab.strategies.forever import Forever, ModelClock, replay_days
from geodiag.lab.strategies.strategy import pull_towards
from geodiag.lab.suite import generator_of
from geodiag.lab.training import fit

TRAINING = Training(steps=40, batch=8, lr=3e-3)
CONFIG = LabConfig(run="r", size="s", method="forever", model=ModelShape(layers=1, width=8, ffn=8), training=TRAINING)


def test_the_days_of_the_curve():
    assert list(islice(replay_days(), 8)) == [1, 2, 4, 7, 15, 30, 60, 120]


def test_at_a_steady_pace_events_fall_on_the_days():
    clock = ModelClock(day=4)
    assert [step for step in range(1, 130) if clock.advance(0.5)] == [4, 8, 16, 28, 60, 120]
    assert clock.day == 2.0


def test_a_slower_model_is_replayed_later():
    clock = ModelClock(day=4)
    moves = [1.0] * 4 + [0.25] * 100
    # A day is 4.0: the second takes 16 quarter steps more, the fourth another 32, the seventh another 48.
    assert [step for step, moved in enumerate(moves, 1) if clock.advance(moved)] == [4, 20, 52, 100]


def test_a_leap_over_several_days_is_one_event():
    clock = ModelClock(day=1)
    assert clock.advance(1.0)
    assert clock.advance(5.0)  # tau = 6 passes days 2 and 4
    assert not clock.advance(0.5)
    assert clock.advance(0.5)  # tau = 7


@pytest.mark.parametrize(
    ("moves", "gamma", "factor"),
    [
        ([1.0] * 4, 1.0, 1.0),
        ([1.0] * 4 + [3.0], 1.0, 1.1),  # EMA 0.95 + 0.05 * 3
        ([1.0] * 4 + [3.0], 2.0, 1.2),
        ([1.0] * 4 + [100.0], 1.0, 3.0),  # clipped
        ([4.0, 0.0, 0.0, 0.0], 0.0, 1.0),
        ([1.0] * 4 + [0.0] * 40, 1.0, 0.5),  # clipped
    ],
)
def test_the_pull_follows_the_pace(moves, gamma, factor):
    clock = ModelClock(day=4)
    for moved in moves:
        clock.advance(moved)
    assert clock.pull(beta=1e-3, gamma=gamma) == pytest.approx(1e-3 * factor)


def test_the_pull_is_the_gradient_of_a_squared_distance():
    theta = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    anchor, beta = torch.tensor([0.5, 0.0, 0.5]), 0.3
    (beta * (theta - anchor).square().sum()).backward()
    wanted = theta.grad.clone()
    theta.grad = torch.zeros(3)
    pull_towards([theta], [anchor], beta=beta)
    torch.testing.assert_close(theta.grad, wanted)


class Watch(TrainerCallback):
    """Measures each optimiser step on its own, from the weights alone."""

    def __init__(self, model):
        self.model, self.moves = model, []

    def weights(self):
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def on_pre_optimizer_step(self, *_, **__):
        self.before = self.weights()

    def on_optimizer_step(self, *_, **__):
        self.moves.append(float((self.weights() - self.before).norm()))


def trained(model, encoded, options):
    forever, watch = Forever(options), Watch(model)
    forever.begin(Lesson(model, encoded["copy"], encoded["facts"], CONFIG, generator_of("replay")))
    fit(model, encoded["copy"], training=TRAINING, rng=generator_of("o"), callbacks=[forever, watch])
    return forever.end(), watch.moves


def test_in_training_events_fall_where_tau_crosses_the_days(model, encoded):
    record, moves = trained(model, encoded, ForeverOptions(day=6))
    day, tau, wanted, days = sum(moves[:6]), 0.0, [], replay_days()
    threshold = next(days)
    for step, moved in enumerate(moves, 1):
        tau += moved
        if step >= 6 and tau >= threshold * day * (1 - 1e-6):
            wanted.append(step)
            threshold = next(days)
    assert len(moves) == 40  # replay's own steps are not the task's
    assert len(wanted) >= 3
    assert [event["step"] for event in record["replays"]] == wanted
    assert record["day"] == pytest.approx(day, rel=1e-4)
    assert record["tau"] == pytest.approx(sum(moves), rel=1e-4)


def test_an_event_is_two_passes_over_the_memory(model, encoded):
    record, _ = trained(model, encoded, ForeverOptions(day=30))
    assert record["memory_items"] == 64
    assert [event["updates"] for event in record["replays"]] == [2 * 64 // 8]


def test_without_memory_nothing_is_replayed(model, encoded):
    forever = Forever(ForeverOptions(day=6))
    forever.begin(Lesson(model, encoded["copy"], None, CONFIG, generator_of("replay")))
    fit(model, encoded["copy"], training=TRAINING, rng=generator_of("o"), callbacks=[forever])
    assert forever.end()["replays"] == []
