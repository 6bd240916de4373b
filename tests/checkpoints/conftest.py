"""Tiny real checkpoints on disk: by hand with safetensors, and by transformers itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

MODULES = {
    "self_attn.q_proj": (6, 4),
    "self_attn.k_proj": (2, 4),
    "self_attn.v_proj": (2, 4),
    "self_attn.o_proj": (4, 6),
    "mlp.gate_proj": (8, 4),
    "mlp.up_proj": (8, 4),
    "mlp.down_proj": (4, 8),
}


def block_weights(prefix="model.layers.", *, blocks=2, dtype=torch.float32, seed=0):
    """The projections of a small model, by name."""
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{prefix}{block}.{module}.weight": torch.randn(shape, generator=generator).to(dtype)
        for block in range(blocks)
        for module, shape in MODULES.items()
    }


def save_folder(path: Path, weights, *, config=None, shards=1) -> Path:
    """A Hugging Face folder with its weights in one file, or spread over shards with an index."""
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(weights, path / "model.safetensors")
        return path
    weight_map = {}
    for number in range(shards):
        names = sorted(weights)[number::shards]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: weights[name] for name in names}, path / file)
        weight_map |= dict.fromkeys(names, file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


TEXT = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32, "pad_token_id": None, "bos_token_id": None,
    "eos_token_id": None,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
MOE = {"num_experts": 2, "moe_intermediate_size": 8, "num_experts_per_tok": 1}
MODEL_TYPES = ("qwen2", "qwen3", "llama", "mistral", "gemma", "gemma2", "gemma3_text")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders written by transformers, and the weights that were in memory, by model type."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Gemma3ForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    made = {name: AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**TEXT)) for name in MODEL_TYPES}
    made["qwen3_moe"] = AutoModelForCausalLM.from_config(CONFIG_MAPPING["qwen3_moe"](**TEXT, **MOE))
    gemma3 = CONFIG_MAPPING["gemma3"](text_config=TEXT, vision_config=VISION, mm_tokens_per_image=1)
    made["gemma3"] = Gemma3ForConditionalGeneration(gemma3)
    saved = {}
    for name, model in made.items():
        folder = tmp_path_factory.mktemp(name)
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="4KB" if name == "llama" else "1GB")
        saved[name] = (folder, {key: value.detach() for key, value in model.named_parameters()})
    return saved
