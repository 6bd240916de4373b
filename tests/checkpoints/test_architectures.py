"""Fused and stacked weights against what the models themselves do with them."""

import pytest
import torch

from geodiag.checkpoints import FAMILIES, match_layers, open_checkpoint
from geodiag.checkpoints.architectures import ARCHITECTURES
from geodiag.checkpoints.layers import head_counts
from geodiag.checkpoints.tensor_names import naming_of
from geodiag.errors import CheckpointError
from tests.checkpoints.conftest import save_folder

HEADS = {"hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 32, "intermediate_size": 24}
HEADS |= {"max_position_embeddings": 32, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "vocab_size": 32}
GPT |= {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
GROUPED = HEADS | {"num_key_value_heads": 2}
FALCON = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 32}

MPT = {"d_model": 16, "n_layers": 2, "n_heads": 4, "max_seq_len": 32, "vocab_size": 32}

# Model type, its configuration, and the family of each projection that a block has besides q, k, v, o.
FUSED = [
    ("phi3", GROUPED, ("gate_proj", "up_proj", "down_proj")),
    ("gpt_neox", HEADS, ("up_proj", "down_proj")),
    ("gpt2", GPT, ("up_proj", "down_proj")),
    ("gpt_bigcode", GPT, ("up_proj", "down_proj")),
    ("gpt_bigcode", GPT | {"multi_query": False}, ("up_proj", "down_proj")),
    ("codegen", GPT | {"rotary_dim": 2}, ("up_proj", "down_proj")),
    ("bloom", {"hidden_size": 16, "n_layer": 2, "n_head": 4, "vocab_size": 32}, ("up_proj", "down_proj")),
    ("mpt", MPT, ("up_proj", "down_proj")),
    ("persimmon", HEADS, ("up_proj", "down_proj")),
    ("falcon", FALCON, ("up_proj", "down_proj")),
    ("falcon", FALCON | {"multi_query": False}, ("up_proj", "down_proj")),
    ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}, ("up_proj", "down_proj")),
]  # fmt: skip


def build(model_type, config):
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    made = CONFIG_MAPPING[model_type](**config)
    return AutoModelForCausalLM.from_config(made, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def model(request, tmp_path_factory):
    """A model, and the folder that it was saved in."""
    model_type, config, others = request.param
    made = build(model_type, config)
    folder = tmp_path_factory.mktemp(model_type)
    made.save_pretrained(folder)
    return made, open_checkpoint(folder), others


each_fused = pytest.mark.parametrize(
    "model", FUSED, ids=[str(n) + case[0] for n, case in enumerate(FUSED)], indirect=True
)


@each_fused
def test_a_fused_weight_is_split_whole_and_once(model):
    """The projections' rows are all rows of the stored weight, each once."""
    _, checkpoint, others = model
    table = match_layers(checkpoint)
    assert table.warnings == ()
    assert table.family_counts == dict.fromkeys([f for f in FAMILIES if f[0] in "qkvo" or f in others], 2)
    assert {layer.name for layer in table.layers} == {
        f"model.layers.{block}.{'self_attn' if family[0] in 'qkvo' else 'mlp'}.{family}"
        for block in (0, 1)
        for family in table.family_counts
    }
    by_tensor = {}
    for layer in table.layers:
        by_tensor.setdefault(layer.tensor, []).append(layer)
    assert any(len(layers) == 3 for layers in by_tensor.values())
    for tensor, layers in by_tensor.items():
        stored = checkpoint.read(tensor)
        rows = torch.cat([checkpoint.read_layer(layer) for layer in layers])
        stored = stored.T if layers[0].part.transposed else stored
        assert sorted(rows.tolist()) == sorted(stored.tolist())


def rows_of(layer, width):
    """Which outputs of a fused module are a layer's."""
    return layer.part.take_rows(torch.arange(width)[:, None])[:, 0]


def attention_output(model, fused, leaving, change):
    """What enters the output projection, with the fused module's output changed."""
    caught = []

    def replace(_module, _inputs, output):
        output = output.clone()
        change(output)
        return output

    hooks = [
        model.get_submodule(fused).register_forward_hook(replace),
        model.get_submodule(leaving).register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach())),
    ]
    with torch.no_grad():
        model(torch.arange(6)[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return caught[0]


@each_fused
def test_queries_keys_and_values_do_what_their_names_say(model):
    """Attention at the last token needs its own query only, but every key; without values nothing comes out."""
    made, checkpoint, _ = model
    layers = {layer.family: layer for layer in match_layers(checkpoint).layers if layer.block == 0}
    fused, leaving = (layers[family].tensor.removesuffix(".weight") for family in ("q_proj", "o_proj"))

    def without(family, tokens):
        def change(output):
            output[:, tokens, rows_of(layers[family], output.shape[-1])] = 0

        return attention_output(made, fused, leaving, change)

    def last(x):
        return x.reshape(6, -1)[-1]

    whole = attention_output(made, fused, leaving, lambda output: None)
    earlier = slice(0, 5)
    assert torch.equal(last(without("q_proj", earlier)), last(whole))
    assert not torch.allclose(last(without("k_proj", earlier)), last(whole), atol=1e-6)
    assert not torch.allclose(last(without("q_proj", slice(5, 6))), last(whole), atol=1e-6)
    assert without("v_proj", slice(None)).abs().max() == 0


@pytest.mark.parametrize("model_type", ["phi3", "glm"])
def test_the_gate_closes_and_the_rest_is_linear(tmp_path, model_type):
    made = build(model_type, GROUPED | ({"head_dim": 4} if model_type == "glm" else {}))
    made.save_pretrained(tmp_path)
    layers = {layer.family: layer for layer in match_layers(open_checkpoint(tmp_path)).layers if layer.block == 0}
    fused, leaving = (layers[family].tensor.removesuffix(".weight") for family in ("gate_proj", "down_proj"))

    def scaled(family, factor):
        def change(output):
            output[..., rows_of(layers[family], output.shape[-1])] *= factor

        return attention_output(made, fused, leaving, change)

    whole = scaled("up_proj", 1)
    torch.testing.assert_close(scaled("up_proj", -2), -2 * whole)
    assert scaled("gate_proj", 0).abs().max() == 0
    assert not torch.allclose(scaled("gate_proj", -2), -2 * whole, atol=1e-6)


MIXED = {"num_local_experts": 3, "num_experts": 3, "moe_intermediate_size": 8, "num_experts_per_tok": 2}


@pytest.mark.parametrize(("model_type", "width"), [("mixtral", 24), ("qwen3_moe", 8), ("phimoe", 24)])
def test_experts_one_by_one_and_stacked_are_the_same_layers(tmp_path, model_type, width):
    """As transformers saves them in the format of old and in that of its own modules."""
    made = build(model_type, GROUPED | MIXED)
    made.save_pretrained(tmp_path / "single")
    made.save_pretrained(tmp_path / "stacked", save_original_format=False)
    single, stacked = open_checkpoint(tmp_path / "single"), open_checkpoint(tmp_path / "stacked")
    assert any(len(info.shape) == 3 for info, _ in stacked.tensors.values())
    table, other = match_layers(single), match_layers(stacked)
    assert table.warnings == other.warnings == ()
    assert [layer.name for layer in table.layers] == [layer.name for layer in other.layers]
    assert table.family_counts == dict(zip(FAMILIES, (2, 2, 2, 2, 6, 6, 6), strict=True))
    names = [layer.name for layer in table.layers if layer.block == 1 and layer.family == "gate_proj"]
    assert names == [f"model.layers.1.mlp.experts.{e}.gate_proj" for e in range(3)]
    assert "router" in table.left_out_counts
    for layer, twin in zip(table.layers, other.layers, strict=True):
        if "experts" in layer.name:
            shape = (16, width) if layer.family == "down_proj" else (width, 16)
            assert (layer.d_out, layer.d_in) == (twin.d_out, twin.d_in) == shape
        weight = single.read_layer(layer)
        assert torch.equal(weight, stacked.read_layer(twin))
        assert torch.equal(weight, stacked.read_layer(layer))  # found by what it is, where the names differ
        assert torch.equal(weight, single.read_layer(twin))


def test_stacked_experts_of_other_orders(tmp_path):
    """By hand: GPT-OSS takes turns and stores (d_in, d_out); Llama 4 halves, stored so too; Granite halves."""
    g = torch.Generator().manual_seed(0)
    gate, up = (torch.randn(2, 6, 4, generator=g) for _ in range(2))
    down = torch.randn(2, 4, 6, generator=g)
    turns = torch.stack([gate, up], dim=2).reshape(2, 12, 4)
    halves = torch.cat([gate, up], dim=1)
    attention = {"model.layers.0.self_attn.q_proj.weight": torch.ones(4, 4)}
    experts = "model.layers.0.mlp.experts."
    cases = {
        "gpt_oss": {f"{experts}gate_up_proj": turns.mT, f"{experts}down_proj": down.mT},
        "llama4_text": {
            "model.layers.0.feed_forward.experts.gate_up_proj": halves.mT,
            "model.layers.0.feed_forward.experts.down_proj": down.mT,
        },
        "qwen3_vl_moe_text": {f"{experts}gate_up_proj": halves.mT, f"{experts}down_proj": down.mT},
        "granitemoe": {
            "model.layers.0.block_sparse_moe.input_linear.weight": halves,
            "model.layers.0.block_sparse_moe.output_linear.weight": down,
        },
        # The same stack, turned as the hidden size says where the table's own order does not fit.
        "qwen3_moe": {f"{experts}gate_up_proj": halves.mT, f"{experts}down_proj": down.mT},
    }
    for model_type, weights in cases.items():
        stored = {name: weight.contiguous() for name, weight in (weights | attention).items()}
        config = {"model_type": model_type, "hidden_size": 4}
        checkpoint = open_checkpoint(save_folder(tmp_path / model_type, stored, config=config))
        found = {layer.name: checkpoint.read_layer(layer) for layer in match_layers(checkpoint).layers}
        for e in range(2):
            for family, weight in (("gate_proj", gate), ("up_proj", up), ("down_proj", down)):
                assert torch.equal(found[f"model.layers.0.mlp.experts.{e}.{family}"], weight[e]), (model_type, family)


def test_experts_that_every_token_passes(tmp_path):
    made = build("qwen2_moe", GROUPED | MIXED | {"shared_expert_intermediate_size": 12})
    made.save_pretrained(tmp_path)
    table = match_layers(open_checkpoint(tmp_path))
    assert table.family_counts["gate_proj"] == 2 * (3 + 1)
    assert table.left_out_counts["router"] == 4
    shared = [layer.name for layer in table.layers if "shared" in layer.name and layer.block == 0]
    assert shared == [f"model.layers.0.mlp.shared_expert.{f}" for f in ("gate_proj", "up_proj", "down_proj")]


OTHERS = [
    ("gptj", GPT | {"rotary_dim": 2}, 6),
    ("gpt_neo", HEADS | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]}, 6),
    ("opt", HEADS | {"ffn_dim": 24, "word_embed_proj_dim": 16}, 6),
    ("phi", GROUPED, 6),
    ("starcoder2", GROUPED, 6),
    ("lfm2", GROUPED, 7),
    ("cohere", GROUPED, 7),
]


@pytest.mark.parametrize(("model_type", "config", "families"), OTHERS, ids=[case[0] for case in OTHERS])
def test_separate_weights_under_other_names(tmp_path, model_type, config, families):
    build(model_type, config).save_pretrained(tmp_path)
    table = match_layers(open_checkpoint(tmp_path))
    assert table.naming == model_type
    assert set(table.family_counts.values()) == {2}
    assert len(table.family_counts) == families
    assert not {"unknown", "fused", "expert"} & set(table.left_out_counts)


# Architectures whose code lies beside their weights: rows by hand, as that code shares them. Two heads of two
# queries each and one key and value (grouped), or as many keys and values as queries.
def numbered(rows):
    return torch.arange(rows, dtype=torch.float32)[:, None].expand(rows, 3).contiguous()


REMOTE = [
    ("internlm2", "model.layers.0.attention.wqkv", {"num_attention_heads": 4, "num_key_value_heads": 2}, 16,
     {"q_proj": [0, 1, 2, 3, 8, 9, 10, 11], "k_proj": [4, 5, 12, 13], "v_proj": [6, 7, 14, 15]}),
    ("baichuan", "model.layers.0.self_attn.W_pack", {}, 12,
     {"q_proj": [0, 1, 2, 3], "k_proj": [4, 5, 6, 7], "v_proj": [8, 9, 10, 11]}),
    ("qwen", "transformer.h.0.attn.c_attn", {}, 12,
     {"q_proj": [0, 1, 2, 3], "k_proj": [4, 5, 6, 7], "v_proj": [8, 9, 10, 11]}),
    ("chatglm", "transformer.encoder.layers.0.self_attention.query_key_value",
     {"num_attention_heads": 4, "multi_query_attention": True, "multi_query_group_num": 1}, 12,
     {"q_proj": [0, 1, 2, 3, 4, 5, 6, 7], "k_proj": [8, 9], "v_proj": [10, 11]}),
    ("chatglm", "transformer.encoder.layers.0.self_attention.query_key_value",
     {"num_attention_heads": 2, "multi_query_group_num": 1}, 12,
     {"q_proj": [0, 1, 6, 7], "k_proj": [2, 3, 8, 9], "v_proj": [4, 5, 10, 11]}),
    ("chatglm", "transformer.encoder.layers.0.mlp.dense_h_to_4h", {}, 6,
     {"gate_proj": [0, 1, 2], "up_proj": [3, 4, 5]}),
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "tensor", "config", "rows", "expected"), REMOTE)
def test_rows_of_architectures_with_code_of_their_own(tmp_path, model_type, tensor, config, rows, expected):
    weights = {f"{tensor}.weight": numbered(rows)}
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": model_type, **config}))
    found = {layer.family: checkpoint.read_layer(layer)[:, 0].tolist() for layer in match_layers(checkpoint).layers}
    assert found == expected


def test_qwen_1_has_its_gate_in_w2(tmp_path):
    """Its code multiplies w1(x) by silu(w2(x))."""
    weights = {f"transformer.h.0.mlp.{name}.weight": torch.ones(2, 3) for name in ("w1", "w2")}
    table = match_layers(open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": "qwen"})))
    assert {layer.tensor: layer.family for layer in table.layers} == {
        "transformer.h.0.mlp.w1.weight": "up_proj",
        "transformer.h.0.mlp.w2.weight": "gate_proj",
    }


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"num_attention_heads": 5, "num_key_value_heads": 5},
         "16 rows do not divide into 5 query heads and 5 key-value heads"),
        ({}, "config.json names no number of heads (num_attention_heads, n_head)"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_is_told(tmp_path, config, why):
    weights = {"model.layers.0.self_attn.qkv_proj.weight": torch.ones(16, 8)}
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": "phi3", **config}))
    with pytest.raises(CheckpointError) as caught:
        match_layers(checkpoint)
    assert str(caught.value) == (
        f"{tmp_path}/m: tensor model.layers.0.self_attn.qkv_proj.weight: {why}; give the model's own config.json "
        "beside its weights"
    )


def test_heads_are_counted_under_every_name():
    assert head_counts({"num_attention_heads": 8, "num_key_value_heads": 2}) == (8, 2)
    assert head_counts({"n_head": 8, "num_key_value_heads": None}) == (8, 8)
    assert head_counts({"num_attention_heads": 8, "multi_query_group_num": 4}) == (8, 4)


def test_every_table_names_known_families_only():
    for model_type, architecture in ARCHITECTURES.items():
        assert naming_of({"model_type": model_type})[0] == model_type
        named = {family for module in architecture.modules.values() for family in module.families}
        assert named <= set(FAMILIES)
        assert {"up_proj", "down_proj", "o_proj"} <= named
        assert all((len(m.families) > 1) == (m.sharing is not None) for m in architecture.modules.values())


def test_fused_weights_of_unknown_models_are_left_out_and_warned_of(tmp_path):
    weights = {
        "model.layers.0.self_attn.qkv_proj.weight": torch.ones(16, 8),
        "model.layers.0.mlp.up_proj.weight": torch.ones(16, 8),
    }
    table = match_layers(open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": "new"})))
    assert table.left_out_counts == {"fused": 1}
    assert "1 fused weights, such as model.layers.0.self_attn.qkv_proj.weight, are left out" in table.warnings[0]


def test_a_checkpoint_without_a_configuration_is_split_as_the_base_is(tmp_path):
    weights = {"model.layers.0.self_attn.qkv_proj.weight": numbered(16)}
    config = {"model_type": "phi3", "num_attention_heads": 2, "num_key_value_heads": 1}
    base = open_checkpoint(save_folder(tmp_path / "base", weights, config=config))
    other = open_checkpoint(save_folder(tmp_path / "other", weights))
    for layer in match_layers(base).layers:
        assert torch.equal(other.read_layer(layer), base.read_layer(layer))
