"""Plain training is what a person would write; memory keeps what it should."""

import pytest
import torch

from geodiag.lab.base import StopWhenGood
from geodiag.lab.config import Training
from geodiag.lab.data import encode_items, epochs, keep_items
from geodiag.lab.strategies import STRATEGIES, Lesson
from geodiag.lab.strategies.strategy import SeqSft
from geodiag.lab.suite import generator_of
from geodiag.lab.training import fit
from tests.lab.test_ewc import CONFIG


def by_hand(model, encoded, *, training, rates):
    """AdamW on the mean cross-entropy of the target tokens, clipped, with the given rates."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=training.betas, weight_decay=0.0)
    batches = epochs(encoded, batch=training.batch, rng=generator_of("order"))
    model.train()
    for rate in rates:
        batch = next(batches)
        logits = model(input_ids=batch["input_ids"]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_seq_sft_is_a_plain_adamw_loop(model, encoded, schedule):
    training = Training(steps=12, batch=8, lr=3e-3, schedule=schedule, warmup=0.25)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    strategy = SeqSft()
    strategy.begin(Lesson(model, encoded["copy"], None, CONFIG, generator_of("x")))
    fit(model, encoded["copy"], training=training, rng=generator_of("order"), callbacks=[strategy])
    found = [parameter.detach().clone() for parameter in model.parameters()]
    model.load_state_dict(start)
    fall = [1.0] * 9 if schedule == "constant" else [(12 - step) / 9 for step in range(3, 12)]
    rates = [3e-3 * factor for factor in [0, 1 / 3, 2 / 3, *fall]]
    by_hand(model, encoded["copy"], training=training, rates=rates)
    for one, other in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-6)
    assert strategy.end() == {}


def test_training_leaves_nothing_behind(model, encoded, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fit(model, encoded["copy"], training=Training(steps=2, lr=1e-3), rng=generator_of(0))
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr() == ("", "")
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_good_base_stops_early(model, encoded, tokenizer, tasks):
    seen, said = [], []
    held_out = {"copy": encode_items(tokenizer, tasks["copy"].test)}
    watch = StopWhenGood(model, held_out, until=0.0, every=3, progress=said.append)
    watch.on_step_begin = lambda args, state, control, **_: seen.append(state.global_step)
    fit(model, encoded["copy"], training=Training(steps=9, lr=1e-3), rng=generator_of(0), callbacks=[watch])
    assert seen == [0, 1, 2]
    assert len(said) == 1
    assert said[0].startswith("base: 3 steps, mean of its tasks 0.")


def test_the_memory_is_a_share_with_every_class(tasks):
    copy = keep_items(tasks["copy"], share=0.25, rng=generator_of(0))
    assert len(copy) == len(set(copy)) == 16
    facts = keep_items(tasks["facts"], share=0.02, rng=generator_of(0))
    classes = {item.label for item in tasks["facts"].train}
    assert {item.label for item in facts} == classes
    assert len(facts) == len(classes)  # more than 2 % of 64
    assert set(facts) <= set(tasks["facts"].train)


def test_the_four_strategies_have_the_names_of_the_field():
    assert [entry.label for entry in STRATEGIES.values()] == ["Seq. SFT", "EWC", "FOREVER", "AIMMerging"]
