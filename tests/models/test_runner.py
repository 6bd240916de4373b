"""A model that runs: states in place, groups, edited steps and side branches, against plain loops over weights."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from io import StringIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from geodiag.errors import CheckpointError
from geodiag.models.groups import state_tensors, tensor_hash
from tests.models.states import (
    MOE,
    edited_by_hand,
    logits,
    random_model,
    runner_of,
    save_adapter,
    save_states,
    state_of,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three whole Qwen3 states; the folder and the models."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, save_states(folder, "qwen3")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """A base and two LoRA adapters of it, `a1` and `a2`; the folder and the models of PEFT."""
    folder = tmp_path_factory.mktemp("adapters")
    save_states(folder, "qwen3", n=1)
    return folder, [save_adapter(folder / f"a{n}", random_model("qwen3", 0), n) for n in (1, 2)]


def same(a, b):
    return (a - b).abs().max().item()


def bits(runner):
    return {name: tensor.clone() for name, tensor in runner.tensors.items()}


def test_states_are_read_in_place(whole):
    folder, models = whole
    runner = runner_of(folder / "s1", base=folder / "s0")
    for number in (1, 2, 0, 1):
        runner.move_to(state_of(folder / f"s{number}", base=folder / "s0"))
        assert torch.equal(logits(runner.model), logits(models[number]))


@pytest.mark.parametrize(
    ("multipliers", "names", "scale"),
    [
        (0.5, lambda _: True, 0.5),
        (1.0, lambda _: True, 1.0),
        ({"embedding": 1.0, "norm": 1.0}, lambda n: "embed" in n or "norm" in n, 1.0),
        ({"model.layers.1.mlp.up_proj": 0.25}, lambda n: n == "model.layers.1.mlp.up_proj.weight", 0.25),
        (lambda group: 0.3 if group.block == 0 else 0.0, lambda n: ".0." in n and "norm" not in n, 0.3),
        (lambda _: lambda delta: delta.scaled(0.5), lambda _: True, 0.5),
    ],
)
def test_an_edit_equals_a_plain_loop_bit_by_bit_and_is_put_back(whole, multipliers, names, scale):
    folder, models = whole
    runner = runner_of(folder / "s1", base=folder / "s0")
    before = bits(runner)
    with runner.edited(state_of(folder / "s2", base=folder / "s0"), multipliers):
        found = logits(runner.model)
    assert torch.equal(found, edited_by_hand(models[1], models[2], names, scale))
    assert all(torch.equal(before[name], tensor) for name, tensor in runner.tensors.items())


def test_an_error_within_an_edit_puts_the_weights_back(whole):
    folder, models = whole
    runner = runner_of(folder / "s1", base=folder / "s0")
    with pytest.raises(ZeroDivisionError), runner.edited(state_of(folder / "s2", base=folder / "s0"), 0.5):
        raise ZeroDivisionError
    assert torch.equal(logits(runner.model), logits(models[1]))


def test_files_that_change_meanwhile_are_seen_when_weights_are_put_back(whole, tmp_path):
    folder, _ = whole
    shutil.copytree(folder / "s1", tmp_path / "s1")
    runner = runner_of(tmp_path / "s1", base=folder / "s0")

    def edit_while_the_files_change():
        with runner.edited(state_of(folder / "s2", base=folder / "s0"), {"norm": 0.5}):
            tensors = load_file(tmp_path / "s1" / "model.safetensors")
            tensors["model.norm.weight"] += 1
            save_file(tensors, tmp_path / "new", metadata={"format": "pt"})
            (tmp_path / "new").replace(tmp_path / "s1" / "model.safetensors")
            runner.state.whole._handles.clear()

    with pytest.raises(CheckpointError, match="is not the one that was there before the edit"):
        edit_while_the_files_change()


def test_adapters_are_side_branches(adapters):
    folder, tuned = adapters
    runner = runner_of(folder / "a1", base=folder / "s0")
    for number in (1, 2, 1):
        runner.move_to(state_of(folder / f"a{number}", base=folder / "s0"))
        assert same(logits(runner.model), logits(tuned[number - 1])) < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(
        runner.tensors.values(), dict(state_tensors(random_model("qwen3", 0))).values(), strict=True
    ))  # fmt: skip


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_an_edit_of_an_adapter_is_straight_in_the_effective_weight(adapters, scale):
    folder, tuned = adapters
    runner = runner_of(folder / "a1", base=folder / "s0")
    after = state_of(folder / "a2", base=folder / "s0")
    merged = [save.merge_and_unload() for save in (
        save_adapter(folder / "x", random_model("qwen3", 0).double(), 1),
        save_adapter(folder / "x", random_model("qwen3", 0).double(), 2),
    )]  # fmt: skip
    expected = edited_by_hand(merged[0], merged[1], lambda _: True, scale)
    for multipliers in (scale, lambda _: lambda delta: delta.scaled(scale)):
        with runner.edited(after, multipliers):
            assert same(logits(runner.model).double(), expected) < 1e-5
    only = "model.layers.0.mlp.down_proj"
    expected = edited_by_hand(merged[0], merged[1], lambda name: name == f"{only}.weight", scale)
    with runner.edited(after, {only: scale}):
        assert same(logits(runner.model).double(), expected) < 1e-5
    assert same(logits(runner.model), logits(tuned[0])) < 1e-5
    with runner.edited(after, 1.0):
        found = logits(runner.model)
    runner.move_to(after)
    assert torch.equal(logits(runner.model), found)


def test_the_delta_of_an_adapter_stays_factored(adapters):
    folder, _ = adapters
    runner = runner_of(folder / "a1", base=folder / "s0")
    after = state_of(folder / "a2", base=folder / "s0")
    factors = {n: load_file(folder / f"a{n}" / "adapter_model.safetensors") for n in (1, 2)}
    name = "model.layers.1.self_attn.q_proj"
    B, A = ([factors[n][f"base_model.model.{name}.lora_{side}.weight"].double() for n in (1, 2)] for side in "BA")
    expected = 2.0 * (B[1] @ A[1] - B[0] @ A[0])
    ((_, delta),) = runner.deltas(after, runner.groups[name])
    assert delta.dense is None
    assert same(delta.to_dense((16, 16)).double(), expected) < 1e-6
    assert delta.squared_norm() == pytest.approx(expected.square().sum().item(), rel=1e-5)
    x = torch.randn(5, 16)
    assert same(delta.of(x).double(), x.double() @ expected.T) < 1e-5
    projector = torch.eye(16)[:, :3] @ torch.eye(16)[:3]
    projected = delta.on_inputs(lambda rows: rows - rows @ projector)
    assert same(projected.to_dense((16, 16)).double(), expected @ (torch.eye(16) - projector).double()) < 1e-5


def test_saved_modules_of_an_adapter_replace_the_model_s(tmp_path):
    save_states(tmp_path, "qwen3", n=1)
    tuned = save_adapter(tmp_path / "a", random_model("qwen3", 0), 1, modules_to_save=["lm_head", "embed_tokens"])
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1)
    tuned.save_pretrained(tmp_path / "a")
    runner = runner_of(tmp_path / "a", base=tmp_path / "s0")
    assert same(logits(runner.model), logits(tuned)) < 1e-5


def test_bfloat16_never_rounds_an_edited_weight(tmp_path):
    """A step of a quarter of bfloat16's spacing: rounded weights would not move at all, and x Delta must be there."""
    before = random_model("qwen3", 0, tie_word_embeddings=True).bfloat16()
    after = random_model("qwen3", 0, tie_word_embeddings=True).bfloat16().float()
    for parameter in after.parameters():
        parameter.mul_(1 + 2**-10)
    before.save_pretrained(tmp_path / "s0")
    after.save_pretrained(tmp_path / "s1")
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0", precision="bfloat16")
    expected = edited_by_hand(before.float(), after, lambda _: True, 0.5) - logits(before)
    step = state_of(tmp_path / "s1", base=tmp_path / "s0")
    module = runner.model.model.layers[0].mlp.up_proj
    x = torch.randn(64, 16).bfloat16()
    plain = (x @ module.weight.T).float()
    added = x.float() @ (0.5 * 2**-10 * module.weight.float()).T
    with runner.edited(step, 0.5):
        assert same(module(x).float(), (plain + added).bfloat16().float()) == 0
        moved = runner.model.model.norm.weight
        assert moved.dtype == torch.float32
        assert same(moved, before.model.norm.weight.float() * (1 + 2**-11)) < 1e-7
    assert runner.model.model.norm.weight.dtype == torch.bfloat16
    assert expected.abs().max() > 0


@pytest.mark.parametrize("kind", ["qwen3", "gemma2", "phi3", "gpt2", "qwen3_moe"])
def test_every_kind_of_group_is_edited_in_both_precisions(tmp_path, kind):
    """Whole states of several architectures, tied, scaled, fused, transposed and with experts; bf16 by its noise."""
    models = save_states(tmp_path, kind, n=2, **(MOE if "moe" in kind else {}))
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0")
    after = state_of(tmp_path / "s1", base=tmp_path / "s0")
    tensors = dict(state_tensors(runner.model))
    assert sum(group.entries for group in runner.groups.values()) == sum(t.numel() for t in tensors.values())
    with runner.edited(after, 0.5):
        found = logits(runner.model)
    assert torch.equal(found, edited_by_hand(models[0], models[1], lambda _: True, 0.5))
    narrow = runner_of(tmp_path / "s0", base=tmp_path / "s0", precision="bfloat16")
    with narrow.edited(after, 0.5):
        near = logits(narrow.model).float()
    far = logits(models[0])
    assert same(near, found) < 0.1 * same(far, found)


def test_groups_of_a_model_with_experts(tmp_path):
    save_states(tmp_path, "qwen3_moe", n=1, **MOE)
    groups = runner_of(tmp_path / "s0", base=tmp_path / "s0").groups
    found = {name: (group.block, group.family, len(group.slots)) for name, group in groups.items()}
    assert found["model.layers.1.mlp.experts"] == (1, "experts", 12)
    assert found["model.layers.1.mlp.router"] == (1, "router", 1)
    assert found["model.layers.0.self_attn.q_proj"] == (0, "q_proj", 1)
    assert [name for name in found if not name.startswith("model.")] == ["embedding", "norm", "lm_head"]


def test_fused_weights_fall_into_their_matrices_by_rows(tmp_path):
    models = save_states(tmp_path, "phi3", n=2)
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0")
    after = state_of(tmp_path / "s1", base=tmp_path / "s0")
    with runner.edited(after, {"model.layers.0.self_attn.k_proj": 1.0}):
        found = logits(runner.model)
    key = models[0].model.layers[0].self_attn.qkv_proj.weight
    key[16:24] = models[1].model.layers[0].self_attn.qkv_proj.weight[16:24]  # 2 query heads of 8 come first
    assert torch.equal(found, logits(models[0]))


def test_a_tied_matrix_is_one_group_and_changes_both_its_uses(tmp_path):
    models = save_states(tmp_path, "qwen3", n=2, tie_word_embeddings=True)
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0")
    assert "lm_head" not in runner.groups
    with runner.edited(state_of(tmp_path / "s1", base=tmp_path / "s0"), {"embedding": 0.5}):
        found = logits(runner.model)
    assert torch.equal(found, edited_by_hand(models[0], models[1], lambda name: "embed" in name, 0.5))


def test_added_rows_of_the_vocabulary_are_the_state_s_own_and_have_no_delta(tmp_path):
    base, grown = save_states(tmp_path, "qwen3", n=2)
    grown.resize_token_embeddings(52, mean_resizing=False)
    grown.save_pretrained(tmp_path / "s1")
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0")
    after = state_of(tmp_path / "s1", base=tmp_path / "s0")
    with runner.edited(after, 1.0):
        assert torch.equal(logits(runner.model), logits(grown)[..., :48])
    runner.move_to(after)
    assert torch.equal(logits(runner.model), logits(grown))
    runner.move_to(state_of(tmp_path / "s0", base=tmp_path / "s0"))
    assert torch.equal(logits(runner.model), logits(base))


def test_a_model_s_own_code_is_refused_whatever_is_typed(whole, tmp_path, monkeypatch):
    folder, _ = whole
    shutil.copytree(folder / "s0", tmp_path / "s0")
    config = json.loads((tmp_path / "s0" / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (tmp_path / "s0" / "config.json").write_text(json.dumps(config))
    (tmp_path / "s0" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    with pytest.raises(CheckpointError, match="auto_map"):
        runner_of(tmp_path / "s0", base=tmp_path / "s0")
    assert not (tmp_path / "ran").exists()


def test_what_a_configuration_says_of_attention_is_ignored_and_the_network_is_never_asked(whole, tmp_path, monkeypatch):
    folder, models = whole
    shutil.copytree(folder / "s0", tmp_path / "s0")
    config = json.loads((tmp_path / "s0" / "config.json").read_text())
    config |= {"_attn_implementation": "kernels-community/any", "attn_implementation": "flash_attention_2"}
    config |= {"_attn_implementation_internal": "flash_attention_2", "use_kernels": True}
    (tmp_path / "s0" / "config.json").write_text(json.dumps(config))

    def blocked(*_args, **_more):
        raise AssertionError("a connection was tried")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    runner = runner_of(tmp_path / "s0", base=tmp_path / "s0")
    assert runner.model.config._attn_implementation == "sdpa"
    assert torch.equal(logits(runner.model), logits(models[0]))


def test_the_hash_sees_any_bit_and_any_exchange():
    x = torch.randn(1000)
    other = x.clone()
    other[[3, 700]] = other[[700, 3]]
    flipped = x.clone()
    flipped.view(torch.int32)[5] ^= 1
    assert len({tensor_hash(x), tensor_hash(other), tensor_hash(flipped)}) == 3
    assert tensor_hash(x) == tensor_hash(x.clone())
    assert tensor_hash(torch.tensor([0.0])) != tensor_hash(torch.tensor([-0.0]))
