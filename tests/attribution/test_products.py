"""Products by hooks equal products with dense gradients, example by example."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from geodiag.checkpoints import Layer
from geodiag.extraction.measurements.attribution.changes import Piece, change_product, within_subspace
from geodiag.extraction.measurements.attribution.products import ChangeProducts, values_by_example
from geodiag.extraction.measurements.gradients.compare import compare_tasks
from geodiag.models.states import WeightDelta
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
    pieces = {name: [Piece(name, partial(WeightDelta, d))] for name, d in delta.items()}
    values, reference = by_hooks(model, texts, pieces), expected(model, texts, delta)
    assert values.keys() == reference.keys()
    for name, numbers in reference.items():
        # Relative to the largest example: norms of some models compute in float32 whatever the model's dtype.
        assert values[name] == pytest.approx(numbers, rel=1e-6, abs=1e-6 * max(map(abs, numbers))), name


def test_only_routers_and_stacked_experts_take_dense_gradients():
    model = oracle.model_of("qwen3_moe", 1)
    pieces = {name: [Piece(name, partial(WeightDelta, p))] for name, p in model.named_parameters()}
    dense = {name.split(".mlp.")[1] for name in ChangeProducts(model, pieces).dense}
    assert dense == {"gate.weight", "experts.gate_up_proj", "experts.down_proj"}
    model = oracle.model_of("qwen3", 1, tied=True)
    pieces = {name: [Piece(name, partial(WeightDelta, p))] for name, p in model.named_parameters()}
    assert not ChangeProducts(model, pieces).one_by_one


def test_factors_and_subspaces_give_what_their_products_give():
    model = oracle.model_of("qwen3", 1)
    name = "model.layers.0.self_attn.q_proj.weight"
    d_out, d_in = dict(model.named_parameters())[name].shape
    left, right = torch.randn(d_out, 3).double(), torch.randn(3, d_in).double()
    V = torch.linalg.qr(torch.randn(d_in, 4).double()).Q
    change = WeightDelta(None, left, right)
    dense = {"step": left @ right, "shared": left @ right @ V @ V.T}
    piece = Piece("a", lambda: change, within={"shared": within_subspace(change, V)})
    texts = oracle.examples(3)
    products = ChangeProducts(model, {name: [piece]})
    _, values = values_by_example(products, texts, batch_tokens=64, device=torch.device("cpu"))
    for direction, delta in dense.items():
        reference = [(oracle.gradient(model, text)[name] * delta).sum().item() for text in texts]
        assert values[direction, "a"].tolist() == pytest.approx(reference, rel=1e-9)
    G = torch.randn(d_out, d_in).double()
    for part in (change, within_subspace(change, V), WeightDelta(G)):
        assert change_product(part, G).item() == pytest.approx((part.to_dense(()) * G).sum().item(), rel=1e-9)


def test_parts_of_a_fused_weight_have_rows_of_their_own():
    from geodiag.checkpoints.layers import MatrixPart

    model = oracle.model_of("gpt2", 1, n_embd=16, n_layer=2, n_head=2)
    name = "transformer.h.1.attn.c_attn.weight"  # (d_in, 3 d_out): queries, keys, values
    delta = oracle.difference(model, oracle.moved(model, 2, 0.1))[name]
    parts = {"qkv"[n]: MatrixPart(transposed=True, rows=(16 * n, 16 * n + 16)) for n in range(3)}
    pieces = [Piece(key, partial(WeightDelta, part.take(delta)), part) for key, part in parts.items()]
    texts = oracle.examples(3)
    values = by_hooks(model, texts, {name: pieces})
    for n, key in enumerate("qkv"):
        rows = slice(16 * n, 16 * n + 16)
        reference = [(oracle.gradient(model, text)[name] * delta)[:, rows].sum().item() for text in texts]
        assert values[key] == pytest.approx(reference, rel=1e-9)


def test_gradients_of_tasks_are_multiplied_with_changes_as_they_are_compared():
    """<g_i, Delta_k> of every layer: with the products at both ends of a step, the trapezoid of a loss change."""
    model = oracle.model_of("qwen3", 1)
    steps = [oracle.difference(model, oracle.moved(model, seed, 0.1)) for seed in (2, 3)]
    names = [f"model.layers.1.mlp.{family}" for family in ("up_proj", "down_proj")]
    shapes = [tuple(steps[0][f"{name}.weight"].shape) for name in names]
    layers = [
        Layer(n, 1, n.split(".")[-1], *shape, "float64", f"{n}.weight") for n, shape in zip(names, shapes, strict=True)
    ]
    tasks = [oracle.examples(4, seed=n) for n in range(2)]

    def changes(layer):
        return [step[layer.tensor] for step in steps]

    for result in compare_tasks(model, [layers], tasks, batch_tokens=32, changes=changes):
        for i, texts in enumerate(tasks):
            for k, step in enumerate(steps):
                values = [oracle.products(model, text, step)[result.layer.tensor] for text in texts]
                assert result.products[i, k].item() == pytest.approx(sum(values) / 4, rel=1e-4, abs=1e-5)
    (plain,) = compare_tasks(model, [layers[:1]], tasks, batch_tokens=32)
    assert plain.products.shape == (2, 0)
