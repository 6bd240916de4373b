"""Checkpoints that transformers wrote."""

import pytest
import torch

from geodiag.checkpoints import FAMILIES, check_same_layers, match_layers, open_checkpoint
from tests.checkpoints.conftest import MODEL_TYPES

# (d_out, d_in) from the configuration: hidden 16, 2 heads of 8, 1 key-value head, inner 24.
SHAPES = {
    "q_proj": (16, 16), "k_proj": (8, 16), "v_proj": (8, 16), "o_proj": (16, 16),
    "gate_proj": (24, 16), "up_proj": (24, 16), "down_proj": (16, 24),
}  # fmt: skip


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_projection_is_found_and_read(models, model_type):
    folder, weights = models[model_type]
    checkpoint = open_checkpoint(folder)
    table = match_layers(checkpoint)
    assert table.naming == model_type
    assert [(layer.block, layer.family) for layer in table.layers] == [
        (block, family) for block in (0, 1) for family in FAMILIES
    ]
    for layer in table.layers:
        assert (layer.d_out, layer.d_in) == SHAPES[layer.family]
        assert layer.dtype == "bfloat16"
        assert layer.tensor == f"{layer.name}.weight"
        read = checkpoint.read_layer(layer)
        assert read.dtype == torch.bfloat16
        assert torch.equal(read, weights[layer.tensor])


# A block has 2 norms; Qwen3 and Gemma 3 also norm queries and keys, Gemma 2 and 3 also what leaves each half of
# a block. One norm follows the last block. Qwen2 has 3 biases a block. Heads are tied to the embedding or apart.
@pytest.mark.parametrize(
    ("model_type", "counts"),
    [
        ("qwen2", {"norm": 5, "bias": 6, "embedding": 1}),
        ("qwen3", {"norm": 9, "embedding": 1}),
        ("llama", {"norm": 5, "embedding": 1}),
        ("mistral", {"norm": 5, "embedding": 1}),
        ("gemma", {"norm": 5, "embedding": 1}),
        ("gemma2", {"norm": 9, "embedding": 1}),
        ("gemma3_text", {"norm": 13, "embedding": 1}),
        ("qwen3_moe", {"norm": 9, "router": 2, "embedding": 1}),
    ],
)
def test_what_is_left_out_is_told(models, model_type, counts):
    folder, _ = models[model_type]
    checkpoint = open_checkpoint(folder)
    table = match_layers(checkpoint)
    head = {"head": 1} if "lm_head.weight" in checkpoint.names else {}
    assert table.left_out_counts == counts | head
    assert len(table.layers) + len(table.left_out) == len(checkpoint.names)


def test_shards_read_as_one(models):
    folder, _ = models["llama"]
    checkpoint = open_checkpoint(folder)
    assert len(checkpoint.files) > 3
    assert all("-of-" in file.name for file in checkpoint.files)


def test_a_router_is_no_gate_projection(models):
    folder, _ = models["qwen3_moe"]
    table = match_layers(open_checkpoint(folder))
    # Two blocks of four attention weights, and of two experts of three weights.
    assert table.family_counts == dict(zip(FAMILIES, (2, 2, 2, 2, 4, 4, 4), strict=True))
    routers = [left.name for left in table.left_out if left.why == "router"]
    assert routers == ["model.layers.0.mlp.gate.weight", "model.layers.1.mlp.gate.weight"]


def test_a_model_that_sees_gives_its_language_blocks_only(models):
    folder, weights = models["gemma3"]
    checkpoint = open_checkpoint(folder)
    table = match_layers(checkpoint)
    assert table.naming == "gemma3"
    assert [layer.name for layer in table.layers[:2]] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
    ]
    assert len(table.layers) == 2 * len(FAMILIES)
    assert not any("vision" in layer.tensor for layer in table.layers)
    seeing = sum("vision_tower" in name or "multi_modal_projector" in name for name in checkpoint.names)
    assert table.left_out_counts["vision"] == seeing
    assert "unknown" not in table.left_out_counts
    in_memory = {name.partition("language_model.")[2]: weight for name, weight in weights.items()}
    for layer in table.layers:
        expected = in_memory[f"{layer.name.removeprefix('model.')}.weight"]
        assert torch.equal(checkpoint.read_layer(layer), expected)


def test_two_models_of_one_shape_share_their_layers(models):
    layers = match_layers(open_checkpoint(models["llama"][0])).layers
    check_same_layers(layers, open_checkpoint(models["gemma3"][0]))
    check_same_layers(layers, open_checkpoint(models["mistral"][0]))
