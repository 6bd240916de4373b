import pickle

import pytest
import torch
from safetensors.torch import save_file

from geodiag.checkpoints import Layer, MatrixPart, check_same_layers, match_layers, open_checkpoint
from geodiag.checkpoints.architectures import ARCHITECTURES, LEFT_OUT, PLAIN, PREFIXES
from geodiag.checkpoints.tensor_names import naming_of, other_names, why_left_out
from geodiag.common.schema import FAMILIES
from geodiag.errors import CheckpointError, SettingsError
from tests.checkpoints.conftest import block_weights, save_folder


@pytest.fixture
def base(tmp_path):
    return open_checkpoint(save_folder(tmp_path / "base", block_weights(), config={"model_type": "llama"}))


PLAIN_TYPES = [name for name, table in ARCHITECTURES.items() if table is PLAIN]


def projection(name, config=None, shape=(8, 4)):
    """The first projection of a tensor by its name; None when it holds none."""
    config = config or {}
    site = naming_of(config)[1](name)
    return None if site is None else next(site.projections(shape, config))


@pytest.mark.parametrize("model_type", PLAIN_TYPES)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_table_names_every_family_under_every_prefix(model_type, prefix):
    config = {"model_type": model_type}
    assert naming_of(config)[0] == model_type
    for family in FAMILIES:
        module = f"{'self_attn' if family[0] in 'qkvo' else 'mlp'}.{family}"
        found = projection(f"{prefix}11.{module}.weight", config)
        assert (found.layer, found.block, found.family) == (f"model.layers.11.{module}", 11, family)
        assert found.part == MatrixPart()


def test_the_type_of_the_language_part_is_known_too():
    assert naming_of({"model_type": "new_vl", "text_config": {"model_type": "qwen3"}})[0] == "qwen3"
    assert naming_of({"model_type": "new"})[0] == "any"
    assert naming_of({})[0] == "any"
    assert naming_of({"model_type": ["llama"], "text_config": "x"})[0] == "any"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3.self_attn.q_proj"),
        ("model.language_model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj"),
        ("thinker.model.layers.3.mlp.up_proj.weight", "thinker.model.layers.3.mlp.up_proj"),
        ("decoder.layers.0.self_attn.k_proj.weight", "decoder.layers.0.self_attn.k_proj"),
        ("model.layers.0.mlp.experts.1.gate_proj.weight", "model.layers.0.mlp.experts.1.gate_proj"),
        ("model.layers.0.mlp.shared_expert.gate_proj.weight", "model.layers.0.mlp.shared_expert.gate_proj"),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", None),
        ("model.visual.layers.0.mlp.up_proj.weight", None),
        ("model.layers.0.mlp.gate.weight", None),
        ("model.layers.0.mlp.experts.gate_up_proj", None),
        ("model.layers.0.self_attn.q_proj.bias", None),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", None),
        ("model.layers.0.self_attn.my_q_proj.weight", None),
    ],
)
def test_unknown_types_go_by_pattern(name, layer):
    found = projection(name)
    assert (found.layer if found else None) == layer


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("transformer.wte.weight", "embedding"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "norm"),
        ("model.layers.0.input_layernorm.weight", "norm"),
        ("model.layers.0.self_attn.q_norm.weight", "norm"),
        ("transformer.h.0.ln_1.weight", "norm"),
        ("model.layers.0.self_attn.q_proj.bias", "bias"),
        ("model.layers.0.mlp.gate.e_score_correction_bias", "router"),
        ("model.layers.0.mlp.gate.weight", "router"),
        ("model.layers.0.block_sparse_moe.gate.weight", "router"),
        ("model.layers.0.mlp.shared_expert_gate.weight", "router"),
        ("model.layers.0.feed_forward.router.weight", "router"),
        ("model.layers.0.mlp.experts.3.w9.weight", "expert"),
        ("model.layers.0.self_attn.qkv_proj.weight", "fused"),
        ("transformer.h.0.attn.c_attn.weight", "fused"),
        ("model.layers.0.mlp.experts.gate_up_proj", "fused"),
        ("transformer.blocks.0.norm_1.weight", "norm"),
        ("model.visual.blocks.0.norm1.weight", "vision"),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.weight", "vision"),
        ("multi_modal_projector.mm_soft_emb_norm.weight", "vision"),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "buffer"),
        ("model.layers.0.self_attn.q_a_proj.weight", "unknown"),
        ("model.layers.0.normalizer_proj.weight", "unknown"),
    ],
)
def test_why_a_tensor_is_left_out(name, why):
    assert why_left_out(name) == why
    assert why in {*LEFT_OUT, "unknown"}


def test_layers_go_by_block_and_then_by_family(tmp_path):
    table = match_layers(open_checkpoint(save_folder(tmp_path / "m", block_weights(blocks=11))))
    assert [(layer.block, layer.family) for layer in table.layers] == [
        (block, family) for block in range(11) for family in FAMILIES
    ]
    assert table.left_out == ()
    assert table.family_counts == dict.fromkeys(FAMILIES, 11)
    assert str(table) == (
        "77 layers in 11 blocks and 7 families; left out 0 tensors; matched 11 q_proj, 11 k_proj, 11 v_proj, "
        "11 o_proj, 11 gate_proj, 11 up_proj, 11 down_proj"
    )


def test_families_and_pattern_choose(base):
    table = match_layers(base, families=["down_proj", "q_proj"], pattern=r"layers\.1\.")
    assert [layer.name for layer in table.layers] == [
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.down_proj",
    ]
    assert table.left_out_counts == {"family": 10, "pattern": 2}
    assert str(table) == (
        "2 layers in 1 block and 2 families; left out 12 tensors: 10 family, 2 pattern; matched 1 q_proj, 1 down_proj"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": ["q"]}, "unknown family 'q'; known families: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
         "down_proj"),
        ({"families": []}, "no family is asked for; known families: q_proj, k_proj, v_proj, o_proj, gate_proj, "
         "up_proj, down_proj"),
        ({"pattern": "("}, "the layer pattern '(' is not a regular expression (missing ), unterminated subpattern at "
         r"position 0); for example 'layers\.[0-3]\.'"),
        ({"pattern": "layers.7", "families": ["q_proj"]}, "{path}: no layer fits families q_proj and the pattern "
         "'layers.7'; there are model.layers.0.mlp.down_proj.weight, model.layers.0.mlp.gate_proj.weight, "
         "model.layers.0.mlp.up_proj.weight, model.layers.0.self_attn.k_proj.weight, ..."),
    ],
)  # fmt: skip
def test_wrong_choices(base, options, message):
    with pytest.raises(SettingsError) as caught:
        match_layers(base, **options)
    assert str(caught.value) == message.replace("{path}", str(base.path))


def test_one_family_as_a_word_will_do(base):
    assert {layer.family for layer in match_layers(base, families="q_proj").layers} == {"q_proj"}


def test_no_target_layers_shows_what_there_is(tmp_path):
    weights = {"model.norm.weight": torch.ones(4), "transformer.h.0.attn.all.weight": torch.ones(4, 12)}
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, config={"model_type": "gpt_x"}))
    with pytest.raises(CheckpointError) as caught:
        match_layers(checkpoint)
    assert str(caught.value) == (
        f"{tmp_path}/m: no target layers among 2 tensors; tensors are transformer.h.0.attn.all.weight, "
        "model.norm.weight; names were looked for as in any, such as model.layers.0.self_attn.q_proj.weight"
    )


def test_packed_quantised_names_are_told_with_their_method(tmp_path):
    weights = {"model.layers.0.self_attn.q_proj.qweight": torch.ones(4, 12, dtype=torch.int32)}
    config = {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}
    with pytest.raises(CheckpointError) as caught:
        match_layers(open_checkpoint(save_folder(tmp_path / "m", weights, config=config)))
    assert str(caught.value).startswith(
        f"{tmp_path}/m: no target layers among 1 tensor (quantised with gptq); tensors are "
        "model.layers.0.self_attn.q_proj.qweight;"
    )


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_quantised_layers_are_refused_by_name(tmp_path, base, dtype):
    config = {"quantization_config": {"quant_method": "fp8"}}
    name = "model.layers.0.self_attn.k_proj.weight"
    weights = block_weights() | {name: torch.ones(2, 4).to(dtype)}
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, config=config))
    message = (
        f"{tmp_path}/m: tensor {name}: stored as {str(dtype).removeprefix('torch.')} (quantised with fp8), which "
        "cannot be compared; bring the checkpoint in bfloat16, float16, float32 or float64"
    )
    with pytest.raises(CheckpointError) as caught:
        match_layers(checkpoint)
    assert str(caught.value) == message
    layers = match_layers(base).layers
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read_layer(layers[1])
    assert str(caught.value) == message
    with pytest.raises(CheckpointError, match=r"cannot be compared \(1 of 14 target layers do not fit\)"):
        check_same_layers(layers, checkpoint)
    with pytest.raises(CheckpointError, match="which cannot be compared"):
        checkpoint.read(name)
    assert len(match_layers(checkpoint, families=["q_proj"]).layers) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_plain_type_is_read_as_stored(tmp_path, dtype):
    weights = block_weights(dtype=dtype)
    checkpoint = open_checkpoint(save_folder(tmp_path / "m", weights, shards=3))
    for layer in match_layers(checkpoint).layers:
        assert layer.dtype == str(dtype).removeprefix("torch.")
        read = checkpoint.read_layer(layer)
        assert read.dtype == dtype
        assert torch.equal(read, weights[layer.tensor])


def experts(blocks, per_block, *, shape=(8, 4)):
    return {
        f"model.layers.{block}.mlp.experts.{e}.up_proj.weight": torch.ones(shape)
        for block in blocks
        for e in range(per_block)
    }


def test_blocks_that_differ_are_warned_of(tmp_path):
    weights = block_weights(blocks=1) | {
        name: weight for name, weight in block_weights(blocks=7).items() if "self_attn" in name
    }
    weights |= experts(range(1, 7), 12) | {"model.layers.3.self_attn.qkv_proj.weight": torch.ones(3, 2)}
    table = match_layers(open_checkpoint(save_folder(tmp_path / "m", weights)))
    assert table.warnings == (
        "gate_proj, down_proj: different counts in different blocks, 0 in 6 blocks, 1 in block 0",
        "up_proj: different counts in different blocks, 12 in 6 blocks, 1 in block 0",
        "1 fused weights, such as model.layers.3.self_attn.qkv_proj.weight, are left out: how their rows are shared is "
        "not known for model type any",
    )
    assert str(table).endswith("".join(f"; warning: {text}" for text in table.warnings))
    numbers = [int(layer.name.split(".")[5]) for layer in table.layers if layer.block == 1 and "experts" in layer.name]
    assert numbers == list(range(12))
    assert not match_layers(open_checkpoint(tmp_path / "m"), pattern=r"layers\.[12]\.").warnings[:-1]


def test_alike_blocks_are_no_warning(tmp_path):
    weights = block_weights() | experts((0, 1), 3)
    assert match_layers(open_checkpoint(save_folder(tmp_path / "m", weights))).warnings == ()


def test_a_projection_that_is_no_matrix_is_left_out(tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    weights = block_weights() | {name: torch.ones(2, 8, 4)}
    table = match_layers(open_checkpoint(save_folder(tmp_path / "m", weights)))
    assert [(left.name, left.shape, left.why) for left in table.left_out] == [(name, (2, 8, 4), "shape")]


def test_one_layer_under_two_names_is_refused(tmp_path):
    weights = block_weights(blocks=1) | block_weights("language_model.model.layers.", blocks=1)
    with pytest.raises(
        CheckpointError, match=r"tensor model\.layers.*: the same layer as tensor language_model.*; keep one"
    ):
        match_layers(open_checkpoint(save_folder(tmp_path / "m", weights)))


def test_a_layer_is_found_under_another_prefix(tmp_path, base):
    weights = block_weights("model.language_model.layers.", seed=1)
    other = open_checkpoint(save_folder(tmp_path / "m", weights))
    layers = match_layers(base).layers
    check_same_layers(layers, other)
    for layer in layers:
        expected = weights[layer.tensor.replace("model.layers.", "model.language_model.layers.")]
        assert torch.equal(other.read_layer(layer), expected)


def test_other_names_are_the_other_prefixes():
    names = other_names("layers.4.mlp.up_proj.weight")
    assert "model.layers.4.mlp.up_proj.weight" in names
    assert set(names) >= {f"{prefix}4.mlp.up_proj.weight" for prefix in PREFIXES if prefix != "layers."}
    assert "gpt_neox.layers.4.mlp.up_proj.weight" in names
    assert other_names("transformer.h.2.attn.c_attn.weight") == ("h.2.attn.c_attn.weight",)
    assert other_names("thinker.model.layers.4.mlp.up_proj.weight") == ()


def test_a_missing_layer_names_folder_and_tensor(tmp_path, base):
    weights = block_weights()
    del weights["model.layers.1.mlp.up_proj.weight"], weights["model.layers.1.mlp.down_proj.weight"]
    other = open_checkpoint(save_folder(tmp_path / "m", weights))
    layers = match_layers(base).layers
    place = (
        f"{tmp_path}/m: tensor model.layers.1.mlp.up_proj.weight: the tensor is missing here and present in the base"
    )
    fix = "give a checkpoint of the base's own architecture, with all its weights"
    with pytest.raises(CheckpointError) as caught:
        check_same_layers(layers, other)
    assert str(caught.value) == f"{place} (2 of 14 target layers do not fit); {fix}"
    with pytest.raises(CheckpointError) as caught:
        other.read_layer(layers[-2])
    assert str(caught.value) == f"{place}; {fix}"


def test_another_shape_names_both(tmp_path, base):
    weights = block_weights() | {"model.layers.0.mlp.up_proj.weight": torch.ones(9, 4)}
    other = open_checkpoint(save_folder(tmp_path / "m", weights))
    layer = match_layers(base, families=["up_proj"]).layers[0]
    with pytest.raises(CheckpointError) as caught:
        other.read_layer(layer)
    assert str(caught.value) == (
        f"{tmp_path}/m: tensor model.layers.0.mlp.up_proj.weight: shape 9x4 where the base has 8x4; give a checkpoint "
        "of the base's own size"
    )


def test_new_words_and_a_missing_head_do_not_matter(tmp_path):
    head = {"model.embed_tokens.weight": torch.ones(10, 4), "lm_head.weight": torch.ones(10, 4)}
    base = open_checkpoint(save_folder(tmp_path / "base", block_weights() | head))
    grown = {"model.embed_tokens.weight": torch.ones(12, 4)}
    check_same_layers(match_layers(base).layers, open_checkpoint(save_folder(tmp_path / "m", block_weights() | grown)))


def test_headers_are_enough_to_check(tmp_path, base, monkeypatch):
    monkeypatch.setattr(type(base), "read", lambda *_: pytest.fail("a weight was read"))
    other = open_checkpoint(save_folder(tmp_path / "m", block_weights(), shards=2))
    check_same_layers(match_layers(base).layers, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({(0, 1): float("nan")}, "1 NaN and 0 infinite of 24 numbers"),
        ({(5, 3): float("-inf"), (2, 2): float("inf")}, "0 NaN and 2 infinite of 24 numbers"),
        ({(1, 1): float("nan"), (2, 2): float("inf")}, "1 NaN and 1 infinite of 24 numbers"),
    ],
)
def test_numbers_that_are_not_finite_are_counted(tmp_path, base, dtype, values, told):
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = block_weights(dtype=dtype)
    for place, value in values.items():
        weights[name][place] = value
    other = open_checkpoint(save_folder(tmp_path / "m", weights))
    with pytest.raises(CheckpointError) as caught:
        other.read_layer(match_layers(base).layers[0])
    assert str(caught.value) == (
        f"{tmp_path}/m/model.safetensors: tensor {name}: {told}; the checkpoint comes from a diverged or broken run; "
        "use an earlier one"
    )


def test_the_largest_finite_numbers_pass(tmp_path, base):
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = block_weights(dtype=torch.float16) | {name: torch.full((6, 4), 65504.0, dtype=torch.float16)}
    other = open_checkpoint(save_folder(tmp_path / "m", weights))
    assert other.read_layer(match_layers(base).layers[0]).max() == 65504


# A stored tensor that stacks 2 experts of 6 rows (2 projections of 3) by 4 columns, and its parts by hand.
STACK = torch.arange(48, dtype=torch.float32).reshape(2, 6, 4)


@pytest.mark.parametrize(
    ("part", "stored", "expected"),
    [
        (MatrixPart(), STACK[0], STACK[0]),
        (MatrixPart(rows=(3, 6)), STACK[0], STACK[0][3:]),
        (MatrixPart(transposed=True), STACK[0], STACK[0].T),
        (MatrixPart(transposed=True, rows=(1, 3)), STACK[0], STACK[0].T[1:3]),
        (MatrixPart(expert=1), STACK, STACK[1]),
        (MatrixPart(expert=1, rows=(0, 3)), STACK, STACK[1][:3]),
        (MatrixPart(expert=0, transposed=True), STACK, STACK[0].T),
        (MatrixPart(groups=3, rows=(1, 2)), STACK[0], STACK[0][[1, 3, 5]]),
        (MatrixPart(groups=2, rows=(0, 2)), STACK[0], STACK[0][[0, 1, 3, 4]]),
        (MatrixPart(expert=1, transposed=True, groups=2, rows=(1, 2)), STACK, STACK[1].T[[1, 3]]),
    ],
)
def test_a_layer_may_be_part_of_a_tensor(tmp_path, part, stored, expected):
    save_file({"w": stored.contiguous()}, tmp_path / "m.safetensors")
    d_out, d_in = expected.shape
    layer = Layer("w", 0, "up_proj", d_out, d_in, "float32", "w", part)
    assert part.shape(tuple(stored.shape)) == (d_out, d_in)
    assert torch.equal(open_checkpoint(tmp_path / "m.safetensors").read_layer(layer), expected)


@pytest.mark.parametrize(
    "part",
    [
        *(
            MatrixPart(rows=(4, 7)),
            MatrixPart(rows=(9, 12)),
            MatrixPart(expert=2),
            MatrixPart(transposed=True),
            MatrixPart(expert=0),
        ),
        *(MatrixPart(groups=3, rows=(0, 2)), MatrixPart(groups=4, rows=(0, 1))),
    ],
)
def test_a_part_that_does_not_fit_is_another_shape(tmp_path, part):
    save_file({"w": STACK[0].contiguous()}, tmp_path / "m.safetensors")
    layer = Layer("w", 0, "up_proj", 3, 4, "float32", "w", part)
    with pytest.raises(CheckpointError, match=r"shape .* where the base has 3x4"):
        open_checkpoint(tmp_path / "m.safetensors").read_layer(layer)


def test_a_checkpoint_travels_to_another_process(base):
    layer = match_layers(base).layers[3]
    before = base.read_layer(layer)
    there = pickle.loads(pickle.dumps(base))
    assert there.names == base.names
    assert torch.equal(there.read_layer(layer), before)


def test_a_layer_under_its_own_name_is_found_without_trying_others(base, monkeypatch):
    def never(_tensor):
        raise AssertionError("other names were made")

    monkeypatch.setattr("geodiag.checkpoints.checkpoint.other_names", never)
    check_same_layers(match_layers(base).layers, base)
