"""Products by hooks equal products with dense gradients, example by example."""

from __future__ import annotations

import pytest
import torch

from geodiag.extraction.measurements.attribution.changes import DenseChange, FactoredChange, Piece, Term
from geodiag.extraction.measurements.attribution.passes import values_by_example
from geodiag.extraction.measurements.attribution.products import ChangeProducts
from tests.attribution import oracle


def expected(model, texts, delta):
    rows = [oracle.products(model, text, delta) for text in texts]
    return {name: [row[name] for row in rows] for name in delta}


def by_hooks(model, texts, pieces, batch_tokens=32):
    losses, values = values_by_example(
        ChangeProducts(model, pieces), texts, batch_tokens=batch_tokens, device=torch.device("cpu")
    )
    assert losses.tolist() == pytest.approx([oracle.loss(model, text).item() for text in texts], rel=1e-9)
    return {group: numbers.tolist() for (_, group), numbers in values.items()}


@pytest.mark.parametrize(
    ("model_type", "keys"),
    [
        ("qwen3", {}),
        ("qwen3", {"tied": True}),
        ("gemma2", {"query_pre_attn_scalar": 8}),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
        ("gpt_neox", {"hidden_size": 16}),
        ("opt", {"word_embed_proj_dim": 16, "ffn_dim": 24}),
        ("qwen3_moe", {}),
    ],
)
def test_every_parameter_of_a_model_equals_its_dense_gradient(model_type, keys):
    model = oracle.model_of(model_type, 1, **keys)
    delta = oracle.difference(model, oracle.moved(model, 2, 0.1))
    texts = oracle.examples(5)
    pieces = {name: [Piece(name, {"step": DenseChange(d)})] for name, d in delta.items()}
    values, reference = by_hooks(model, texts, pieces), expected(model, texts, delta)
    assert values.keys() == reference.keys()
    for name, numbers in reference.items():
        # Relative to the largest example: norms of some models compute in float32 whatever the model's dtype.
        assert values[name] == pytest.approx(numbers, rel=1e-6, abs=1e-6 * max(map(abs, numbers))), name


def test_only_routers_and_stacked_experts_take_dense_gradients():
    model = oracle.model_of("qwen3_moe", 1)
    pieces = {name: [Piece(name, {"step": DenseChange(p)})] for name, p in model.named_parameters()}
    dense = {name.split(".mlp.")[1] for name in ChangeProducts(model, pieces).dense}
    assert dense == {"gate.weight", "experts.gate_up_proj", "experts.down_proj"}
    model = oracle.model_of("qwen3", 1, tied=True)
    pieces = {name: [Piece(name, {"step": DenseChange(p)})] for name, p in model.named_parameters()}
    assert not ChangeProducts(model, pieces).one_by_one


def test_factors_give_what_their_product_gives():
    model = oracle.model_of("qwen3", 1)
    name = "model.layers.0.self_attn.q_proj.weight"
    shape = dict(model.named_parameters())[name].shape
    terms = tuple(
        Term(s, torch.randn(shape[0], 3, dtype=torch.float64), torch.randn(3, shape[1], dtype=torch.float64))
        for s in (0.5, -0.25)
    )
    change = FactoredChange(terms)
    dense = 0.5 * terms[0].B @ terms[0].A - 0.25 * terms[1].B @ terms[1].A
    texts = oracle.examples(3)
    values = by_hooks(model, texts, {name: [Piece("a", {"step": change})]})
    reference = [(oracle.gradient(model, text)[name] * dense).sum().item() for text in texts]
    assert values["a"] == pytest.approx(reference, rel=1e-9)
    assert change.dot(dense).item() == pytest.approx(dense.square().sum().item(), rel=1e-9)
    assert change.squared_norm() == pytest.approx(dense.square().sum().item(), rel=1e-9)
    assert torch.allclose(change.dense(), dense)


def test_parts_of_a_fused_weight_have_rows_of_their_own():
    from geodiag.checkpoints.layers import MatrixPart

    model = oracle.model_of("gpt2", 1, n_embd=16, n_layer=2, n_head=2)
    name = "transformer.h.1.attn.c_attn.weight"  # (d_in, 3 d_out): queries, keys, values
    delta = oracle.difference(model, oracle.moved(model, 2, 0.1))[name]
    parts = {"qkv"[n]: MatrixPart(transposed=True, rows=(16 * n, 16 * n + 16)) for n in range(3)}
    pieces = [Piece(key, {"step": DenseChange(part.take(delta))}, part) for key, part in parts.items()]
    texts = oracle.examples(3)
    values = by_hooks(model, texts, {name: pieces})
    for n, key in enumerate("qkv"):
        rows = slice(16 * n, 16 * n + 16)
        reference = [(oracle.gradient(model, text)[name] * delta)[:, rows].sum().item() for text in texts]
        assert values[key] == pytest.approx(reference, rel=1e-9)
