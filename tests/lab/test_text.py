"""Characters to tokens and back; prompts masked; scores equal to greedy decoding."""

import pytest
import torch

from geodiag.errors import SettingsError
from geodiag.lab.config import Training
from geodiag.lab.data import IGNORED, encode_items, epochs, one_pass
from geodiag.lab.model import build_tokenizer, save_model
from geodiag.lab.suite import Item, generator_of, seed_of
from geodiag.lab.training import ExactMatch, exact_matches, fit, score_tasks
from geodiag.models.loading import load_tokenizer

TEXT = "rev ab\n12 =x."


def test_one_token_a_character_and_back(tokenizer):
    ids = tokenizer(TEXT)["input_ids"]
    assert len(ids) == len(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer("rev ab")["input_ids"] + tokenizer("\n12 =x.")["input_ids"] == ids


def test_the_saved_tokenizer_is_the_same(tokenizer, model, tmp_path):
    save_model(model, tmp_path / "m", tokenizer=tokenizer, dtype="float32")
    loaded = load_tokenizer(tmp_path / "m", base=tmp_path / "m")
    assert loaded(TEXT)["input_ids"] == tokenizer(TEXT)["input_ids"]
    assert loaded.decode(loaded(TEXT)["input_ids"]) == TEXT


def test_other_characters_can_be_added():
    assert build_tokenizer("Ω").decode(build_tokenizer("Ω")("Ω")["input_ids"]) == "Ω"


def test_unknown_characters_are_refused(tokenizer):
    with pytest.raises(SettingsError, match="does not know every character of 'Ω=1'"):
        encode_items(tokenizer, [Item("Ω=", "1")])


def test_the_prompt_is_masked_and_the_padding_too(tokenizer):
    encoded = encode_items(tokenizer, [Item("ab=", "c."), Item("a=", "b")])
    a, b, c, equals, dot = (tokenizer.convert_tokens_to_ids(x) for x in "abc=.")
    assert encoded.ids.tolist() == [[a, b, equals, c, dot], [a, equals, b, 0, 0]]
    no = IGNORED
    assert encoded.labels.tolist() == [[no, no, no, c, dot], [no, no, b, no, no]]
    assert encoded.batch([1])["input_ids"].tolist() == [[a, equals, b]]


def test_passes_hold_every_item_once(encoded):
    batches = list(one_pass(encoded["copy"], batch=10, rng=generator_of(1)))
    assert [len(batch["labels"]) for batch in batches] == [10] * 6 + [4]
    rows = {tuple(row) for batch in batches for row in batch["input_ids"].tolist()}
    assert rows == {tuple(row) for row in encoded["copy"].ids.tolist()}


def test_epochs_are_full_batches_in_new_orders(encoded):
    stream = epochs(encoded["copy"], batch=48, rng=generator_of(1))
    first, second = next(stream), next(stream)
    assert len(first["labels"]) == len(second["labels"]) == 48
    assert not torch.equal(first["input_ids"], second["input_ids"])


def test_a_score_is_what_greedy_decoding_gets_right(model, tokenizer, tasks):
    fit(model, encode_items(tokenizer, tasks["facts"].train), training=Training(steps=60, lr=1e-2), rng=generator_of(0))
    right = []
    for item in tasks["facts"].train[:40]:
        ids = torch.tensor([tokenizer(item.prompt)["input_ids"]])
        new = len(tokenizer(item.target)["input_ids"])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
        right.append(tokenizer.decode(written[0, ids.shape[1] :]) == item.target)
    assert 0 < sum(right) < 40
    assert exact_matches(model, encode_items(tokenizer, tasks["facts"].train[:40])).tolist() == right


def test_a_score_counts_and_has_a_binomial_error(model, encoded):
    (score,) = score_tasks(model, {"copy": encoded["copy"]})
    assert (score.task, score.n) == ("copy", 64)
    assert ExactMatch("x", 0.2, 100).stderr == pytest.approx(0.04)


def test_seeds_depend_on_every_name():
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)
    assert seed_of("ab", "c") != seed_of("a", "bc")
    assert 0 <= seed_of("x") < 2**32
