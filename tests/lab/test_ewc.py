"""EWC against gradients worked out by hand."""

import numpy as np
import pytest
import torch

from geodiag.lab.config import EwcOptions, LabConfig, ModelShape, Training
from geodiag.lab.data import IGNORED, EncodedItems
from geodiag.lab.strategies import Lesson
from geodiag.lab.strategies.ewc import Ewc, fisher_diagonal
from geodiag.lab.suite import generator_of
from geodiag.lab.training import fit
from tests.lab.bigram import Bigram

TABLE = [[0.0, 1.0, -1.0], [0.5, 0.0, 2.0], [1.0, 1.0, 0.0]]
CONFIG = LabConfig(
    run="r", size="s", method="ewc", model=ModelShape(layers=1, width=8, ffn=8), training=Training(steps=1, lr=1)
)


def items():
    """0 -> 1 -> 2 with two target tokens, and 1 -> 0 with one; the second is padded."""
    ids = torch.tensor([[0, 1, 2], [1, 0, 0]])
    labels = torch.tensor([[IGNORED, 1, 2], [IGNORED, 0, IGNORED]])
    return EncodedItems(ids, labels)


def log_p_gradient(x, y):
    """d log p(y | x) / d table, from the softmax's derivative."""
    row = np.array(TABLE[x])
    gradient = np.zeros((3, 3))
    gradient[x] = np.eye(3)[y] - np.exp(row) / np.exp(row).sum()
    return gradient


def fisher_by_hand():
    first = log_p_gradient(0, 1) + log_p_gradient(1, 2)
    return (first**2 + log_p_gradient(1, 0) ** 2) / 2


def lesson(model):
    return Lesson(model, items(), None, CONFIG, generator_of("test"))


def after_one_task(**options):
    """EWC with one task's Fisher, at the second task's start."""
    model, ewc = Bigram(TABLE), Ewc(EwcOptions(fisher_items=2, **options))
    ewc.begin(lesson(model))
    ewc.end()
    ewc.begin(lesson(model))
    return model, ewc


def test_fisher_is_the_mean_of_per_example_squares():
    (fisher,) = fisher_diagonal(Bigram(TABLE), items(), rows=[0, 1])
    np.testing.assert_allclose(fisher, fisher_by_hand(), rtol=1e-5)


def test_it_is_not_the_square_of_the_mean():
    batch_mean = (log_p_gradient(0, 1) + log_p_gradient(1, 2) + log_p_gradient(1, 0)) / 2
    assert not np.allclose(fisher_by_hand(), batch_mean**2, rtol=0.1)


def test_lambda_is_the_ratio_of_gradient_norms_and_the_penalty_follows():
    model, ewc = after_one_task(strength=0.5, warmup=2)
    move = np.array([[0.1, 0, 0], [0, -0.2, 0], [0, 0, 0.3]])
    with torch.no_grad():
        model.table += torch.tensor(move, dtype=torch.float32)
    task_gradient = np.full((3, 3), 2.0)
    model.table.grad = torch.tensor(task_gradient, dtype=torch.float32)
    ewc.add_gradient(step=1)
    assert ewc.strength is None  # the warm-up: no penalty yet
    np.testing.assert_array_equal(model.table.grad, task_gradient)
    ewc.add_gradient(step=2)
    fisher = fisher_by_hand()
    strength = 0.5 * np.linalg.norm(task_gradient) / np.linalg.norm(fisher * move)
    assert ewc.strength == pytest.approx(strength, rel=1e-5)
    np.testing.assert_allclose(model.table.grad, task_gradient + strength * fisher * move, rtol=1e-5)
    assert ewc.penalty() == pytest.approx(strength / 2 * (fisher * move**2).sum(), rel=1e-5)


def test_lambda_stays_once_measured():
    model, ewc = after_one_task(warmup=1)
    with torch.no_grad():
        model.table += 0.1
    model.table.grad = torch.ones(3, 3)
    ewc.add_gradient(step=1)
    measured = ewc.strength
    model.table.grad = 7 * torch.ones(3, 3)
    ewc.add_gradient(step=2)
    assert ewc.strength == measured


def test_without_a_move_there_is_no_penalty():
    model, ewc = after_one_task(warmup=1)
    model.table.grad = torch.ones(3, 3)
    ewc.add_gradient(step=1)
    assert ewc.strength is None
    assert model.table.grad.tolist() == torch.ones(3, 3).tolist()


def test_fisher_adds_up_over_tasks_and_survives_a_restart():
    model, ewc = after_one_task()
    ewc.end()
    fresh = Ewc(EwcOptions())
    fresh.restore(ewc.tensors())
    fresh.begin(lesson(model))
    np.testing.assert_allclose(fresh.fisher[0], 2 * fisher_by_hand(), rtol=1e-5)


def test_it_holds_the_weights_that_mattered_back(model, encoded, tokenizer):
    """In training, a stronger penalty moves the weights less in the Fisher's norm."""
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def distance(strength):
        model.load_state_dict(start)
        ewc = Ewc(EwcOptions(strength=strength, fisher_items=16, warmup=2))
        ewc.begin(Lesson(model, encoded["copy"], None, CONFIG, generator_of("fisher")))
        ewc.end()
        ewc.begin(Lesson(model, encoded["facts"], None, CONFIG, generator_of("fisher")))
        fit(model, encoded["facts"], training=Training(steps=25, lr=1e-2), rng=generator_of("o"), callbacks=[ewc])
        pairs = zip(ewc.fisher, ewc.parameters, ewc.anchor, strict=True)
        return sum(float((f * (p.detach() - a) ** 2).sum()) for f, p, a in pairs)

    assert distance(100.0) < 0.5 * distance(1.0) < 0.5 * distance(0.0)
