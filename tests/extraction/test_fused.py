"""A run of fused or stacked weights gives the rows of the same run with its weights split by hand."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import save_file

from geodiag.extraction.measurements.geometry.run import prepare_geometry as prepare
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.runs import load_manifest

D, HEADS, KV, INNER = 16, 4, 2, 24
PLAIN = {
    "self_attn.q_proj": (D, D),
    "self_attn.k_proj": (D * KV // HEADS, D),
    "self_attn.v_proj": (D * KV // HEADS, D),
    "self_attn.o_proj": (D, D),
    "mlp.gate_proj": (INNER, D),
    "mlp.up_proj": (INNER, D),
    "mlp.down_proj": (D, INNER),
}
UNGATED = {name: (D, D) if "attn" in name else shape for name, shape in PLAIN.items() if "gate" not in name}
CHECKPOINTS = ("base", "state1", "state2", "expert1", "expert2")


def phi3(w):
    return {
        "model.layers.0.self_attn.qkv_proj.weight": torch.cat([w[f"self_attn.{x}_proj"] for x in "qkv"]),
        "model.layers.0.self_attn.o_proj.weight": w["self_attn.o_proj"],
        "model.layers.0.mlp.gate_up_proj.weight": torch.cat([w["mlp.gate_proj"], w["mlp.up_proj"]]),
        "model.layers.0.mlp.down_proj.weight": w["mlp.down_proj"],
    }


def gpt_neox(w):
    """For each head in turn the rows of its query, key and value."""
    d = D // HEADS
    rows = [w[f"self_attn.{x}_proj"][h * d : (h + 1) * d] for h in range(HEADS) for x in "qkv"]
    return {
        "gpt_neox.layers.0.attention.query_key_value.weight": torch.cat(rows),
        "gpt_neox.layers.0.attention.dense.weight": w["self_attn.o_proj"],
        "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": w["mlp.up_proj"],
        "gpt_neox.layers.0.mlp.dense_4h_to_h.weight": w["mlp.down_proj"],
    }


def gpt2(w):
    """Everything stored (d_in, d_out)."""
    return {
        "transformer.h.0.attn.c_attn.weight": torch.cat([w[f"self_attn.{x}_proj"] for x in "qkv"]).T,
        "transformer.h.0.attn.c_proj.weight": w["self_attn.o_proj"].T,
        "transformer.h.0.mlp.c_fc.weight": w["mlp.up_proj"].T,
        "transformer.h.0.mlp.c_proj.weight": w["mlp.down_proj"].T,
    }


def qwen3_moe(w):
    """Two experts, stacked; the second is the first turned round, so that they differ."""
    gate, up, down = (w[f"mlp.{x}_proj"] for x in ("gate", "up", "down"))
    both = torch.stack([torch.cat([gate, up]), torch.cat([gate.flip(0), up.flip(1)])])
    attention = {f"model.layers.0.{name}.weight": value for name, value in w.items() if "attn" in name}
    stacked = {
        "model.layers.0.mlp.experts.gate_up_proj": both,
        "model.layers.0.mlp.experts.down_proj": torch.stack([down, down.flip(0)]),
        "model.layers.0.mlp.gate.weight": torch.ones(2, D),
    }
    return attention | stacked


def split(w):
    return {f"model.layers.0.{name}.weight": value for name, value in w.items()}


def split_experts(w):
    gate, up, down = (w[f"mlp.{x}_proj"] for x in ("gate", "up", "down"))
    experts = ((gate, up, down), (gate.flip(0), up.flip(1), down.flip(0)))
    found = {name: value for name, value in split(w).items() if "attn" in name}
    for e, weights in enumerate(experts):
        for family, weight in zip(("gate", "up", "down"), weights, strict=True):
            found[f"model.layers.0.mlp.experts.{e}.{family}_proj.weight"] = weight
    return found


CASES = {
    "phi3": (phi3, split, PLAIN, {"num_attention_heads": HEADS, "num_key_value_heads": KV}),
    "gpt_neox": (gpt_neox, split, UNGATED, {"num_attention_heads": HEADS}),
    "gpt2": (gpt2, split, UNGATED, {"n_head": HEADS}),
    "qwen3_moe": (qwen3_moe, split_experts, PLAIN, {"hidden_size": D}),
}


def write_run(root, arrange, shapes, config):
    """The same five checkpoints every time, arranged in one way or another."""
    g = torch.Generator().manual_seed(0)
    for name in CHECKPOINTS:
        weights = arrange({module: torch.randn(shape, generator=g) for module, shape in shapes.items()})
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text(json.dumps(config))
        save_file({key: value.contiguous() for key, value in weights.items()}, root / name / "model.safetensors")
    steps = [{"task": f"t{t}", "state": f"state{t}", "expert": f"expert{t}"} for t in (1, 2)]
    manifest = {"run": "r", "size": "s", "method": "m", "base": "base", "updates": "experts", "steps": steps}
    (root / "run.yaml").write_text(yaml.safe_dump(manifest))
    return root


def rows_of(root):
    found = {}
    for of_layer in (
        part.rows for part in prepare(load_manifest(root), make_settings(rank=4), device="cpu").layer_results()
    ):
        for table, some in of_layer.items():
            found.setdefault(table, []).extend(some)
    return found


@pytest.mark.parametrize("model_type", CASES)
def test_fused_and_split_weights_give_the_same_rows(tmp_path, model_type):
    fuse, by_hand, shapes, config = CASES[model_type]
    fused = write_run(tmp_path / "fused", fuse, shapes, config | {"model_type": model_type})
    plain = write_run(tmp_path / "plain", by_hand, shapes, {"model_type": "qwen3_moe"})
    found, expected = rows_of(fused), rows_of(plain)
    assert found["layers"] == expected["layers"]
    assert len(found["pairs"]) == 4 * len(found["layers"])
    for table in ("updates", "pairs", "unions"):
        for row, want in zip(found[table], expected[table], strict=True):
            assert row.keys() == want.keys()
            for column, value in want.items():
                if isinstance(value, float | list):
                    assert row[column] == pytest.approx(value, rel=1e-6)
                else:
                    assert row[column] == value


def test_a_state_may_be_saved_in_another_form_than_the_base(tmp_path):
    """Experts one by one in the base and the experts, stacked in the states."""
    mixed = write_run(tmp_path / "mixed", split_experts, PLAIN, {"model_type": "qwen3_moe", "hidden_size": D})
    stacked = write_run(tmp_path / "stacked", qwen3_moe, PLAIN, {"model_type": "qwen3_moe", "hidden_size": D})
    expected = rows_of(mixed)
    for name in ("state1", "state2"):
        (mixed / name / "model.safetensors").write_bytes((stacked / name / "model.safetensors").read_bytes())
    assert rows_of(mixed)["pairs"] == expected["pairs"]
