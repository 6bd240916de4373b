"""LoRA adapters: what is read of them, and which are refused with what to do."""

import json
import re
import warnings

import pytest
import torch
from safetensors.torch import save_file

from geodiag.checkpoints import Factors, check_same_layers, fingerprint, match_layers, open_checkpoint, open_model
from geodiag.checkpoints.adapter_files import REFUSALS, read_settings
from geodiag.errors import CheckpointError
from tests.checkpoints.conftest import MODULES, block_weights, save_folder

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6}
QUERY = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def base(tmp_path):
    head = {"model.embed_tokens.weight": torch.ones(9, 4), "model.norm.weight": torch.ones(4)}
    config = {"model_type": "llama", "tie_word_embeddings": True}
    return open_checkpoint(save_folder(tmp_path / "base", block_weights() | head, config=config))


def factors(module=QUERY, *, r=2, shape=None, name="", prefix="base_model.model."):
    """A and B of a module, by the names that PEFT gives them; 1, 2, 3, ... so that every number is its own."""
    d_out, d_in = shape or MODULES[module.split(".", 3)[3]]
    name = f".{name}" if name else ""
    numbers = torch.arange(1, 1 + r * (d_in + d_out), dtype=torch.float32)
    return {
        f"{prefix}{module}.lora_A{name}.weight": numbers[: r * d_in].view(r, d_in).clone(),
        f"{prefix}{module}.lora_B{name}.weight": numbers[r * d_in :].view(d_out, r).clone(),
    }


def save_adapter(folder, weights, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def layer_of(base, name=QUERY):
    return next(layer for layer in match_layers(base).layers if layer.name == name)


def use(path, base):
    """Everything that reads an adapter."""
    adapter = open_model(path, base=base)
    check_same_layers(match_layers(base).layers, adapter)
    for layer in match_layers(base).layers:
        adapter.read_layer(layer)


def error_of(path, base):
    with pytest.raises(CheckpointError) as caught:
        use(path, base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_factors_are_read_as_stored_with_their_scale(tmp_path, base):
    weights = {name: value.to(torch.bfloat16) for name, value in factors().items()}
    adapter = open_model(save_adapter(tmp_path / "a", weights), base=base)
    found = adapter.read_layer(layer_of(base))
    assert isinstance(found, Factors)
    assert found.scale == 3
    assert found.A.dtype == found.B.dtype == torch.bfloat16
    assert torch.equal(found.A, weights[f"base_model.model.{QUERY}.lora_A.weight"])
    assert torch.equal(found.B, weights[f"base_model.model.{QUERY}.lora_B.weight"])
    assert adapter.holds(layer_of(base)) == "factors"
    other = layer_of(base, "model.layers.1.mlp.up_proj")
    assert (adapter.holds(other), adapter.read_layer(other)) == ("nothing", None)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 8, "r": 2}, 4.0),
        ({"lora_alpha": 8, "r": 2, "use_rslora": True}, 8 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 1}}, 0.5),
        ({"alpha_pattern": {"k_proj": 1}}, 3.0),
        ({"alpha_pattern": {"_proj": 1}}, 3.0),  # a pattern is a whole end of the name, behind a dot
        ({"alpha_pattern": {".*_proj": 1}}, 0.5),
        ({"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 1, "q_proj": 5}}, 0.5),
        ({"alpha_pattern": {"q_proj": 5, "^model.layers.0.self_attn.q_proj": 1}}, 2.5),
        ({"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "r": 64}, 3.0),
        ({"rank_pattern": {"q_proj": 2}, "r": 64, "use_rslora": True}, 6 / 2**0.5),
    ],
)
def test_scales(tmp_path, base, config, scale):
    """alpha / r or alpha / sqrt(r), of the module's own alpha and rank: the first pattern that fits."""
    adapter = open_model(save_adapter(tmp_path / "a", factors(), **config), base=base)
    assert adapter.read_layer(layer_of(base)).scale == pytest.approx(scale, rel=1e-15)


@pytest.mark.parametrize("prefix", ["base_model.model.", ""])
@pytest.mark.parametrize("name", ["", "default", "biology"])
def test_names_that_exporters_give(tmp_path, base, prefix, name):
    adapter = open_model(save_adapter(tmp_path / "a", factors(prefix=prefix, name=name)), base=base)
    assert adapter.read_layer(layer_of(base)).A[0, 0] == 1


def test_a_model_that_sees_names_its_modules_otherwise(tmp_path, base):
    module = "model.language_model.layers.0.self_attn.q_proj"
    adapter = open_model(save_adapter(tmp_path / "a", factors(module, shape=(6, 4))), base=base)
    assert adapter.holds(layer_of(base)) == "factors"


def test_weights_saved_whole_stand_in_for_the_base(tmp_path, base):
    new = torch.full((8, 4), 7.0)
    weights = {
        "base_model.model.model.layers.0.mlp.up_proj.weight": new,
        "base_model.model.model.layers.0.mlp.gate_proj.modules_to_save.default.weight": new + 1,
        "base_model.model.model.layers.0.mlp.gate_proj.original_module.weight": new + 2,
        "base_model.model.lm_head.weight": torch.ones(9, 4),
        "base_model.model.model.norm.weight": torch.ones(4),
    }
    adapter = open_model(save_adapter(tmp_path / "a", weights), base=base)
    for family, value in (("up_proj", new), ("gate_proj", new + 1)):
        layer = layer_of(base, f"model.layers.0.mlp.{family}")
        assert adapter.holds(layer) == "whole"
        assert torch.equal(adapter.read_layer(layer), value)
    assert {left.why for left in adapter.left_out} == {"base", "head", "norm"}


def test_what_changes_no_layer_is_left_out(tmp_path, base):
    weights = factors() | {
        "base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2, 9),
        "base_model.model.model.embed_tokens.lora_embedding_B": torch.ones(4, 2),
        "base_model.model.model.embed_tokens.base_layer.weight": torch.ones(9, 4),
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(1, 4),
        "base_model.model.model.layers.0.self_attn.q_proj.bias": torch.ones(6),
    }
    weights |= factors("lm_head", shape=(9, 4))
    adapter = open_model(save_adapter(tmp_path / "a", weights, trainable_token_indices=[3]), base=base)
    assert sorted(left.why for left in adapter.left_out) == ["base", "bias", "embedding", "embedding", "embedding",
                                                             "head", "head"]  # fmt: skip
    assert list(adapter.factors) == [QUERY]


def test_a_named_adapter_lies_one_folder_down(tmp_path, base):
    save_adapter(tmp_path / "a" / "biology", factors())
    assert open_model(tmp_path / "a", base=base).path == tmp_path / "a" / "biology"
    save_adapter(tmp_path / "a" / "law", factors())
    assert error_of(tmp_path / "a", base) == (
        f"{tmp_path}/a: holds 2 adapters: biology, law; name one of them, such as {tmp_path}/a/biology"
    )
    save_adapter(tmp_path / "a", factors())
    assert open_model(tmp_path / "a", base=base).path == tmp_path / "a"
    assert open_model(tmp_path / "a" / "adapter_model.safetensors", base=base).path == tmp_path / "a"


def test_whole_checkpoints_open_as_before(tmp_path, base):
    folder = save_folder(tmp_path / "m", block_weights(seed=1))
    whole = open_model(folder, base=base)
    assert whole.names == open_checkpoint(folder).names
    assert whole.config == base.config


PLAIN = "train a plain LoRA adapter, or bring whole checkpoints"
CONVERT = (
    "save it as a plain LoRA adapter: `save_pretrained(folder, path_initial_model_for_weight_conversion=<folder of the "
    "untrained adapter>)`"
)
STARTED = "that start changed the base, so the product is not the change since the run's base"
ONLY = "only LoRA adapters are sums of a base and a product of two factors"
REFUSED = [
    ({"peft_type": "IA3"}, f"peft_type is IA3: {ONLY}", None),
    ({"peft_type": "ADALORA"}, f"peft_type is ADALORA: {ONLY}", None),
    ({"use_dora": True}, "use_dora is set: DoRA rescales the sum of base and product, so its update is of full rank",
     None),
    ({"lora_bias": True}, "lora_bias is set: the bias beside the factors is no part of the weight", None),
    ({"init_lora_weights": "pissa"}, f"init_lora_weights is pissa: {STARTED}", CONVERT),
    ({"init_lora_weights": "pissa_niter_16"}, f"init_lora_weights is pissa_niter_16: {STARTED}", CONVERT),
    ({"init_lora_weights": "OLoRA"}, f"init_lora_weights is OLoRA: {STARTED}", CONVERT),
    ({"init_lora_weights": "corda"}, f"init_lora_weights is corda: {STARTED}", CONVERT),
    ({"init_lora_weights": "lora_ga"}, f"init_lora_weights is lora_ga: {STARTED}", CONVERT),
    ({"init_lora_weights": "loftq"}, "init_lora_weights is loftq: LoftQ trains on a base of its own, so the product is "
     "not the change since the run's base", "merge it into the base that LoftQ wrote, and bring the whole checkpoint"),
    ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "target_parameters is set: factors of stacked experts are "
     "packed in an order of their own", None),
    ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is set: the adapter's blocks are copies that the base "
     "does not have", None),
    ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is set: the update acts on some tokens only", PLAIN),
    ({"arrow_config": {"top_k": 2}}, "arrow_config is set: the update is mixed anew for each token", PLAIN),
    ({"use_qalora": True}, "use_qalora is set: the update acts on pooled inputs", PLAIN),
    ({"use_bdlora": {"nblocks": 2}}, "use_bdlora is set: its factors are block-diagonal and packed in an order of "
     "their own", None),
    ({"kasa_config": {"beta": 1}}, "kasa_config is set: KaSA truncates the base, so the product is not the change "
     "since the run's base", None),
    ({"monteclora_config": {"num_samples": 2}}, "monteclora_config is set: its factors are sampled", None),
]  # fmt: skip


@pytest.mark.parametrize(("config", "why", "fix"), REFUSED, ids=[why.split(":")[0] for _, why, _ in REFUSED])
def test_other_kinds_are_refused_with_what_to_do(tmp_path, base, config, why, fix):
    folder = save_adapter(tmp_path / "a", factors(), **config)
    merge = (
        "merge it first: python -c 'from peft import AutoPeftModelForCausalLM as M; "
        f'M.from_pretrained("{folder}", dtype="auto").merge_and_unload().save_pretrained("{folder}-merged")\''
    )
    assert error_of(folder, base) == f"{folder}/adapter_config.json: {why}; {fix or merge}"


def test_every_refusal_is_tested():
    seen = {refusal.why for refusal in REFUSALS for config, _, _ in REFUSED if refusal.kind(CONFIG | config)}
    assert seen == {refusal.why for refusal in REFUSALS}


@pytest.mark.parametrize("init", [True, False, "gaussian", "orthogonal", "eva", "mica"])
def test_starts_that_leave_the_base_alone_are_read(tmp_path, base, init):
    assert open_model(save_adapter(tmp_path / "a", factors(), init_lora_weights=init), base=base).factors


def test_starts_that_peft_says_leave_the_base_alone_do(tmp_path):
    """EVA, MiCA and the orthogonal start give the base's own output before training; PiSSA and OLoRA change W."""
    from peft import EvaConfig, LoraConfig, get_peft_model

    weight = torch.randn(8, 6)
    for init, alone in (("eva", True), ("mica", True), ("orthogonal", True), ("pissa", False), ("olora", False)):
        net = torch.nn.Sequential(torch.nn.Linear(6, 8, bias=False))
        net[0].weight.data = weight.clone()
        eva = {"eva_config": EvaConfig()} if init == "eva" else {}
        config = LoraConfig(r=2, target_modules=["0"], init_lora_weights=init, **eva)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EVA's advice on memory
            tuned = get_peft_model(net, config)
        kept = tuned.base_model.model[0].base_layer.weight
        assert torch.equal(kept, weight) == alone, init
        if init != "eva":  # its B is zero as well, its A waits for data
            torch.testing.assert_close(tuned.base_model.model[0].get_delta_weight("default") + kept, weight)


B_NAME, A_NAME = (f"base_model.model.{QUERY}.lora_{side}.weight" for side in "BA")
DORA = f"base_model.model.{QUERY}.lora_magnitude_vector"
BIAS = f"base_model.model.{QUERY}.lora_B.bias"
EXPERTS = "base_model.model.model.layers.0.mlp.experts"
FIRST = "merge it into its base first"
DAMAGED = [
    (lambda w: w | {DORA: torch.ones(6)}, f"{{a}}: tensor {DORA}: DoRA rescales the sum of base and product "
     f"(use_dora); {FIRST}"),
    (lambda w: w | {BIAS: torch.ones(6)}, f"{{a}}: tensor {BIAS}: the bias beside the factors is no part of the "
     f"weight (lora_bias); {FIRST}"),
    (lambda w: w | {f"{EXPERTS}.base_layer.lora_A.weight": torch.ones(4, 4)}, f"{{a}}: tensor {EXPERTS}.base_layer."
     "lora_A.weight: factors of stacked experts are packed in an order of their own (target_parameters); " + FIRST),
    (lambda w: w | {f"base_model.model.{QUERY}.lora_diag": torch.ones(2)}, f"{{a}}: tensor base_model.model.{QUERY}."
     f"lora_diag: no factor of a LoRA adapter that is known; {FIRST}"),
    (lambda w: {B_NAME: w[B_NAME]}, f"{{a}}: tensor {B_NAME}: there is no factor A to it; save the adapter again"),
    (lambda w: w | factors(name="x"), f"{{a}}: tensor base_model.model.{QUERY}.lora_A.x.weight: the same factor as "
     f"tensor {A_NAME}; keep one adapter a file"),
    (lambda w: factors(name="x") | factors("model.layers.1.self_attn.q_proj", name="y"), "{a}: holds 2 adapters: x, y; "
     "save each in a folder of its own"),
    (lambda w: factors("model.layers.7.mlp.up_proj", shape=(8, 4)), "{a}: 1 of its modules are not in the base "
     "{base}, such as model.layers.7.mlp.up_proj; give the base that the adapter was trained on"),
    (lambda w: factors("lm_head", shape=(9, 4)), "{a}: changes no projection of the base {base}; give an adapter of "
     "the base's attention or feed-forward weights"),
    (lambda w: factors(shape=(7, 4)), f"{{a}}: tensor {B_NAME}: shape 7x2 where the rank and base ask for 6x2 (1 of 14 "
     "target layers do not fit); give the base it was trained on"),
    (lambda w: factors(shape=(6, 5)), f"{{a}}: tensor {A_NAME}: shape 2x5 where the rank and base ask for 2x4 (1 of 14 "
     "target layers do not fit); give the base it was trained on"),
    (lambda w: factors(r=3), f"{{a}}: tensor {B_NAME}: shape 6x3 where the rank and base ask for 6x2 (1 of 14 target "
     "layers do not fit); give the base it was trained on"),
    (lambda w: {n: v.to(torch.int8) for n, v in w.items()}, f"{{a}}: tensor {B_NAME}: stored as int8, which cannot be "
     "compared (1 of 14 target layers do not fit); bring the checkpoint in bfloat16, float16, float32 or float64"),
    (lambda w: w | {A_NAME: torch.tensor([[1.0, float("nan"), 3, 4], [5, 6, 7, float("inf")]])},
     f"{{a}}/adapter_model.safetensors: tensor {A_NAME}: 1 NaN and 1 infinite of 8 numbers; the checkpoint comes from "
     "a diverged or broken run; use an earlier one"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DAMAGED, ids=[str(n) for n in range(len(DAMAGED))])
def test_tensors_that_do_not_fit(tmp_path, base, change, message):
    folder = save_adapter(tmp_path / "a", change(factors()))
    assert error_of(folder, base) == message.format(a=folder, base=base.path)


NUMBERS = [
    ({"r": None}, "'r' is missing; it is a whole number above 0"),
    ({"r": 0}, "'r' is 0; it is a whole number above 0"),
    ({"r": 2.5}, "'r' is 2.5; it is a whole number above 0"),
    ({"lora_alpha": "8"}, "'lora_alpha' is '8'; it is a number above 0"),
    ({"rank_pattern": [1]}, "'rank_pattern' is no object; write {\"q_proj\": 16}"),
    ({"rank_pattern": {"q_proj": True}}, "'rank_pattern.q_proj' is True; it is a whole number above 0"),
    ({"alpha_pattern": {"(": 2}}, "'alpha_pattern' holds '(', no regular expression (missing ), unterminated "
     "subpattern at position 0); name the end of a module"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "message"), NUMBERS)
def test_settings_that_are_wrong(tmp_path, config, message):
    with pytest.raises(CheckpointError) as caught:
        read_settings(CONFIG | config, where=tmp_path)
    assert str(caught.value) == f"{tmp_path}: {message}"


def test_an_adapter_without_safetensors(tmp_path, base):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    assert error_of(folder, base) == f"{folder}: holds no adapter_model.safetensors; save the adapter in safetensors"
    torch.save(factors(), folder / "adapter_model.bin")
    message = error_of(folder, base)
    assert message.startswith(f"{folder}/adapter_model.bin: a pickle, which runs code when loaded; convert it first: ")
    exec(re.search(r"python -c '(.*)'$", message)[1], {})
    assert open_model(folder, base=base).read_layer(layer_of(base)).scale == 3


def test_whole_weights_beside_an_adapter_are_refused(tmp_path, base):
    folder = save_adapter(tmp_path / "a", factors())
    save_file({"w": torch.ones(2)}, folder / "model.safetensors")
    assert error_of(folder, base) == (
        f"{folder}: holds both whole weights and an adapter (adapter_config.json); keep one of them in the folder"
    )


def test_the_base_itself_must_be_whole(tmp_path):
    folder = save_adapter(tmp_path / "a", factors())
    with pytest.raises(CheckpointError, match="a LoRA adapter, not a checkpoint with whole weights; merge it first"):
        open_checkpoint(folder)


def test_the_fingerprint_follows_scale_and_factors(tmp_path, base):
    keys = []
    for alpha in (6, 7):
        folder = save_adapter(tmp_path / "a", factors(), lora_alpha=alpha)
        keys.append(fingerprint(open_model(folder, base=base)))
    assert keys[0] != keys[1]


def test_an_adapter_of_a_fused_module_gives_each_projection_its_rows(tmp_path):
    """By hand: 2 heads of 2 queries' rows, one key, one value; the rows of B by number."""
    config = {"model_type": "phi3", "num_attention_heads": 2, "num_key_value_heads": 1}
    base = open_checkpoint(
        save_folder(tmp_path / "base", {"model.layers.0.self_attn.qkv_proj.weight": torch.ones(8, 4)}, config=config)
    )
    weights = factors("model.layers.0.self_attn.qkv_proj", shape=(8, 4))
    adapter = open_model(save_adapter(tmp_path / "a", weights), base=base)
    B = weights["base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight"]
    for layer, rows in zip(match_layers(base).layers, (slice(0, 4), slice(4, 6), slice(6, 8)), strict=True):
        assert torch.equal(adapter.read_layer(layer).B, B[rows])


def test_an_adapter_that_the_configuration_does_not_divide(tmp_path):
    """A fused module of another width than the base's heads say."""
    config = {"model_type": "phi3", "num_attention_heads": 2, "num_key_value_heads": 1}
    weights = {"model.layers.0.self_attn.qkv_proj.weight": torch.ones(8, 4)}
    base = open_checkpoint(save_folder(tmp_path / "base", weights, config=config))
    folder = save_adapter(tmp_path / "a", factors("model.layers.0.self_attn.qkv_proj", shape=(7, 4)))
    B = "base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight"
    message = error_of(folder, base)
    assert message.startswith(f"{folder}: tensor {B}: ")
    assert "7 rows" in message
    assert message.endswith("; give the base that the adapter was trained on")


def test_a_folder_without_an_adapter(tmp_path, base):
    from geodiag.checkpoints.open_adapter import open_adapter

    with pytest.raises(CheckpointError) as caught:
        open_adapter(tmp_path, base=base)
    assert str(caught.value) == f"{tmp_path}: holds no adapter; give a folder with adapter_config.json"
