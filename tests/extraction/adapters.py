"""Runs of LoRA adapters that PEFT wrote, and the same runs with the adapters merged into whole checkpoints."""

from __future__ import annotations

import warnings

import torch
import yaml

from geodiag.extraction.measurements.geometry.run import prepare_geometry as prepare
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.runs import load_manifest

LLAMA = ("llama", {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2})
PHI3 = ("phi3", {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2})
GPT2 = ("gpt2", {"n_embd": 16, "n_head": 4})
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def build_model(kind, *, seed=0):
    """A model of two blocks in float64, so that merging loses no digits that matter."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    name, config = kind
    torch.manual_seed(seed)
    common = {
        "vocab_size": 32,
        "num_hidden_layers": 2,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[name](**common, **config)).double()


def train(model, config, *, seed):
    """The model with an adapter whose every trainable weight has been moved at random."""
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fan_in_fan_out, and embeddings that are kept
        tuned = get_peft_model(model, LoraConfig(**config)).double()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=g, dtype=torch.float64))
    return tuned


def save_pair(folder, kind, config, *, seed):
    """An adapter as PEFT saves it in `folder`/adapter, and the model that PEFT merges it into in `folder`/merged."""
    tuned = train(build_model(kind), config, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned.save_pretrained(folder / "adapter")
        tuned.merge_and_unload().save_pretrained(folder / "merged")


def write_runs(root, kind, config, *, steps=2):
    """Adapters and merged checkpoints of `steps` states and experts of one base; returns the folder."""
    build_model(kind).save_pretrained(root / "base")
    for t in range(1, steps + 1):
        save_pair(root / f"state{t}", kind, config, seed=t)
        save_pair(root / f"expert{t}", kind, config, seed=100 + t)
    return root


def rows(root, *, states="adapter", experts="adapter", updates="experts", device="cpu", **settings):
    """Every row of the run with the given form of its states and experts, by table."""
    steps = [
        {"task": f"t{t}", "state": f"state{t}/{states}"} | ({"expert": f"expert{t}/{experts}"} if experts else {})
        for t in range(1, len(list(root.glob("state*"))) + 1)
    ]
    manifest = {"run": "r", "size": "tiny", "method": "LoRA", "base": "base", "updates": updates, "steps": steps}
    (root / "run.yaml").write_text(yaml.safe_dump(manifest))
    extraction = prepare(load_manifest(root), make_settings(**{"spectrum": "exact"} | settings), device=device)
    found = {}
    for of_layer in (part.rows for part in extraction.layer_results()):
        for table, some in of_layer.items():
            found.setdefault(table, []).extend(some)
    return found, extraction
