"""Probes as tokens and micro-batches: the border, the cut, and that padding changes nothing."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3ForCausalLM

from geodiag.errors import ProbesError, SettingsError
from geodiag.extraction.measurements.gradients.compare import RELAYED
from geodiag.models.batches import EncodedProbe, cut_counts, encode_probe, micro_batches, target_loss
from geodiag.runs import Probe
from tests.extraction.gradient_runs import BOS, byte_ids, random_model, tiny_model, tokenizer

CPU = torch.device("cpu")


def encode(prompt, target, *, max_length=100, chat_template=False, tok=None):
    probe = Probe("t", prompt, target, "p.jsonl:7")
    return encode_probe(probe, tok or tokenizer(), max_length=max_length, chat_template=chat_template)


def with_bos():
    """The tokenizer, beginning every text with its token for that."""
    from tokenizers.processors import TemplateProcessing

    tok = tokenizer()
    tok.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return tok


def test_prompt_and_target_are_one_text():
    assert encode("2+2=", "four") == EncodedProbe(tuple(byte_ids("2+2=four")), 4, 0)


def test_a_token_across_the_border_is_the_targets():
    # " B" is one token: the prompt alone ends in a blank that the whole text does not have.
    ids = (*byte_ids("Answer:"), BOS + 1)
    assert encode("Answer: ", "B") == encode("Answer:", " B") == EncodedProbe(ids, 1, 0)


def test_a_blank_before_another_target_stays_the_prompts():
    assert encode("Answer: ", "C") == EncodedProbe(tuple(byte_ids("Answer: C")), 1, 0)


def test_the_cut_takes_the_start_of_the_prompt_and_never_the_target():
    assert encode("0123456789", "yes", max_length=5) == EncodedProbe(tuple(byte_ids("89yes")), 3, 8)
    assert encode("0123456789", "yes", max_length=4) == EncodedProbe(tuple(byte_ids("9yes")), 3, 9)
    assert encode("0123456789", "yes", max_length=13).cut == 0


def test_the_token_that_begins_a_text_is_not_cut():
    assert encode("0123456789", "yes", tok=with_bos()).ids[:2] == (BOS, *byte_ids("0"))
    assert encode("0123456789", "yes", max_length=5, tok=with_bos()) == EncodedProbe((BOS, *byte_ids("9yes")), 3, 9)
    assert encode("0123456789", "yes", max_length=4, tok=with_bos()) == EncodedProbe((BOS, *byte_ids("yes")), 3, 10)


def test_an_empty_prompt_needs_a_token_that_begins_a_text():
    assert encode("", "yes", tok=with_bos()) == EncodedProbe((BOS, *byte_ids("yes")), 3, 0)
    with pytest.raises(ProbesError) as caught:
        encode("", "yes")
    told = "p.jsonl:7: no token of the prompt comes before the target; give both a prompt and a target"
    assert str(caught.value) == told


def test_a_target_longer_than_the_most_is_an_error():
    with pytest.raises(ProbesError) as caught:
        encode("0123456789", "yes", max_length=3)
    assert str(caught.value) == (
        "p.jsonl:7: the target is 3 tokens long, and one token must come before it; "
        "shorten it, or raise max_length above 3"
    )


def test_the_chat_template_is_used_only_when_asked_for():
    tok = tokenizer(chat=True)
    assert encode("2+2=", "4", tok=tok).ids == tuple(byte_ids("2+2=4"))
    assert encode("2+2=", "4", tok=tok, chat_template=True) == EncodedProbe(tuple(byte_ids("[2+2=]>4")), 1, 0)
    with pytest.raises(SettingsError) as caught:
        encode("2+2=", "4", chat_template=True)
    assert "the tokenizer has no chat template; leave the option out" in str(caught.value)


def test_cuts_are_counted_by_task():
    whole, cut = EncodedProbe((1, 2), 1, 0), EncodedProbe((1, 2), 1, 3)
    assert cut_counts({"a": [whole, cut, cut], "b": [whole]}) == {"a": "2 of 3"}


# --- micro-batches


@pytest.fixture(scope="module")
def model():
    return tiny_model(0).double()


@pytest.fixture(scope="module")
def examples():
    texts = [
        ("a", "b"),
        ("a longer prompt", "with a longer target"),
        ("short", "y"),
        ("a longer promp", "t"),
        ("xx", "yyyy"),
    ]
    return [encode(*text) for text in texts]


def gradients(model, batches):
    model.zero_grad()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    losses = [target_loss(model, batch) for batch in batches]
    sum(losses).backward()
    return sum(losses).item(), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("batch_tokens", [1, 20, 60, 10_000])
def test_loss_is_the_mean_over_examples_of_the_mean_over_target_tokens(model, examples, batch_tokens):
    """Against transformers' own loss, example by example and without padding."""
    expected = []
    for example in examples:
        labels = [-100] * (len(example.ids) - example.n_target) + list(example.ids[-example.n_target :])
        expected.append(model(input_ids=torch.tensor([example.ids]), labels=torch.tensor([labels])).loss)
    batches = list(micro_batches(examples, batch_tokens=batch_tokens, device=CPU))
    loss, _ = gradients(model, batches)
    assert loss == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)


def test_padding_changes_no_gradient(model, examples):
    together = list(micro_batches(examples, batch_tokens=10_000, device=CPU))
    alone = list(micro_batches(examples, batch_tokens=1, device=CPU))
    assert [len(batch.ids) for batch in together] == [5]
    assert [len(batch.ids) for batch in alone] == [1] * 5
    loss, padded = gradients(model, together)
    loss_alone, unpadded = gradients(model, alone)
    assert loss == pytest.approx(loss_alone, rel=1e-7)
    for a, b in zip(padded, unpadded, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("model_type", sorted(RELAYED))
def test_padding_changes_no_gradient_in_any_type(model_type, examples):
    """Windows of six tokens are shorter than the padding of the shorter examples."""
    model = random_model(model_type, blocks=2)
    _, padded = gradients(model, micro_batches(examples, batch_tokens=10_000, device=CPU))
    _, unpadded = gradients(model, micro_batches(examples, batch_tokens=1, device=CPU))
    for a, b in zip(padded, unpadded, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)  # norms and softmax compute in float32


def test_what_stands_in_the_padding_does_not_matter(model, examples):
    (batch,) = micro_batches(examples, batch_tokens=10_000, device=CPU)
    before = target_loss(model, batch).item()
    for ids, length in zip(batch.ids, sorted(len(example.ids) for example in examples), strict=True):
        ids[length:] = 7
    assert target_loss(model, batch).item() == before


@pytest.mark.parametrize("batch_tokens", [1, 20, 60])
def test_batches_keep_to_their_tokens_and_to_every_example(examples, batch_tokens):
    batches = list(micro_batches(examples, batch_tokens=batch_tokens, device=CPU))
    assert all(batch.ids.numel() <= batch_tokens or len(batch.ids) == 1 for batch in batches)
    ordered = sorted(examples, key=lambda example: len(example.ids))
    rows = [ids for batch in batches for ids in batch.ids]
    for example, ids in zip(ordered, rows, strict=True):
        assert tuple(ids[: len(example.ids)].tolist()) == example.ids
        assert not ids[len(example.ids) :].any()


def test_a_model_that_cannot_choose_its_logits_gives_the_same_loss(model, examples, monkeypatch):
    (batch,) = micro_batches(examples, batch_tokens=10_000, device=CPU)
    expected = target_loss(model, batch).item()
    forward = Qwen3ForCausalLM.forward

    def older(self, input_ids, use_cache):
        return forward(self, input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(Qwen3ForCausalLM, "forward", older)
    assert target_loss(model, batch).item() == pytest.approx(expected, rel=1e-9)
