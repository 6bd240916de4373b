"""Weights that are fused, stacked, transposed, or come as adapters."""

import pytest
import torch

from geodiag.checkpoints.layers import MatrixPart
from geodiag.merging.state_files import fill_part
from tests import synthetic
from tests.extraction.adapters import ALL_LINEAR, GPT2, LLAMA, PHI3, build_model, save_pair
from tests.merging.runs import merge, states

SCALE = 0.5
TARGETS = {
    "llama": ALL_LINEAR,
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj"],
}
PARTS = [
    MatrixPart(),
    MatrixPart(transposed=True),
    MatrixPart(rows=(2, 5)),
    MatrixPart(groups=3, rows=(1, 3)),
    MatrixPart(transposed=True, rows=(0, 2)),
    MatrixPart(transposed=True, groups=2, rows=(1, 2)),
    MatrixPart(expert=1),
    MatrixPart(expert=1, rows=(3, 6)),
    MatrixPart(expert=0, transposed=True, groups=2, rows=(1, 3)),
]


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_filled_and_nothing_else(part):
    shape = (2, 12, 8) if part.expert is not None else (12, 8)
    stored = torch.arange(192.0)[: torch.Size(shape).numel()].view(shape)
    where = part.take(torch.ones(shape, dtype=torch.bool))
    touched = torch.zeros(shape, dtype=torch.bool)
    fill_part(touched, part, where)
    filled = stored.clone()
    weight = -1 - torch.rand(part.take(stored).shape, generator=torch.Generator().manual_seed(0))
    fill_part(filled, part, weight)
    assert torch.equal(part.take(filled), weight)
    assert int(touched.sum()) == weight.numel()
    assert torch.equal(filled[~touched], stored[~touched])
    assert bool((filled[touched] < 0).all())


@pytest.fixture(scope="module", params=[LLAMA, PHI3, GPT2], ids=["llama", "phi3", "gpt2"])
def adapters(request, tmp_path_factory):
    """A base, and two adapters with what PEFT merges them into."""
    root = tmp_path_factory.mktemp(request.param[0])
    build_model(request.param).save_pretrained(root / "base")
    for t in (1, 2):
        config = {"r": 3, "lora_alpha": 6, "target_modules": TARGETS[request.param[0]]}
        save_pair(root / f"expert{t}", request.param, config, seed=t)
    return root


def merged(root, form, **given):
    experts = [{"task": f"t{t}", "checkpoint": str(root / f"expert{t}" / form)} for t in (1, 2)]
    rule = {"name": "task_arithmetic", "scale": SCALE}
    return states(merge(root, experts=experts, rule=rule, **given))


def test_stored_weights_are_merged_entry_by_entry(adapters):
    base = synthetic.read_weights(adapters / "base")
    experts = [synthetic.read_weights(adapters / f"expert{t}" / "merged") for t in (1, 2)]
    state = merged(adapters, "merged", out="whole")[1]
    changed = 0
    for name in base:
        change = sum(expert[name] - base[name] for expert in experts)
        assert torch.allclose(state[name], base[name] + SCALE * change, atol=1e-12)
        changed += bool(change.any())
    assert changed >= 6


def test_an_adapter_merges_as_what_it_merges_into(adapters):
    whole, factored = merged(adapters, "merged", out="whole-2"), merged(adapters, "adapter", out="factored")
    for a, b in zip(whole, factored, strict=True):
        assert all(torch.allclose(a[name], b[name], atol=1e-12) for name in a)


def test_families_that_are_not_asked_for_stay_the_base_within_a_fused_weight(adapters):
    base = synthetic.read_weights(adapters / "base")
    state = merged(adapters, "merged", out="values", families=["v_proj"])[1]
    whole = merged(adapters, "merged", out="all-of-it")[1]
    moved = {name: (state[name] != base[name]) for name in base}
    touched = [name for name, where in moved.items() if bool(where.any())]
    assert len(touched) == 2  # a block each
    assert all(("v_proj" in name or "qkv" in name or "c_attn" in name) for name in touched)
    for name in touched:
        assert torch.equal(state[name][moved[name]], whole[name][moved[name]])


def test_a_layer_that_no_adapter_touches_is_the_base_bit_by_bit(tmp_path):
    build_model(LLAMA).save_pretrained(tmp_path / "base")
    config = {"r": 3, "lora_alpha": 6, "target_modules": ["q_proj"]}
    save_pair(tmp_path / "expert1", LLAMA, config, seed=1)
    save_pair(tmp_path / "expert2", LLAMA, config | {"target_modules": ["k_proj"]}, seed=2)
    base = synthetic.read_weights(tmp_path / "base")
    for rule in ("gcwm", "opcm", "ties", "wudi"):
        experts = [{"task": f"t{t}", "checkpoint": str(tmp_path / f"expert{t}" / "adapter")} for t in (1, 2)]
        state = states(merge(tmp_path, out=rule, experts=experts, rule=rule))[1]
        touched = {name for name in base if not torch.equal(state[name], base[name])}
        assert touched == {f"model.layers.{b}.self_attn.{x}_proj.weight" for b in (0, 1) for x in "qk"}
