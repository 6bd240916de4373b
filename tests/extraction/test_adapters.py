"""LoRA adapters that PEFT wrote, kept factored, against the same adapters merged into whole checkpoints."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from geodiag.extraction.measurements.geometry import layer as layer_room
from geodiag.extraction.measurements.geometry import updates as weights_room
from tests.extraction.adapters import ALL_LINEAR, GPT2, LLAMA, PHI3, rows, save_pair, write_runs

PATTERNS = {
    "rank_pattern": {"q_proj": 3, "layers.1.mlp.down_proj": 5},
    "alpha_pattern": {"v_proj": 2, "^model.layers.0.mlp.up_proj": 40},
}
KINDS = {
    "lora": (LLAMA, {"r": 4, "lora_alpha": 8, "target_modules": ALL_LINEAR}),
    "rslora": (LLAMA, {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ALL_LINEAR}),
    "patterns": (LLAMA, {"r": 4, "lora_alpha": 8, "target_modules": ALL_LINEAR, **PATTERNS}),
    "fused": (PHI3, {"r": 4, "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}),
    "fan_in_fan_out": (GPT2, {"r": 4, "fan_in_fan_out": True, "target_modules": ["c_attn", "c_proj", "c_fc"]}),
    "saved whole": (LLAMA, {"r": 4, "target_modules": ["q_proj", "o_proj"], "modules_to_save": ["up_proj", "lm_head"]}),
}  # fmt: skip
UNLIKE = ("changed_share", "rounding_floor", "dtype")  # what depends on how an update is stored


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name.replace(" ", "_"))
def run(request, tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("run"), *KINDS[request.param])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("plain"), *KINDS["lora"], steps=3)


def assert_same(found, expected, *, tolerance=1e-7):
    """Equal rows; singular values up to rounding."""
    for table in ("updates", "pairs", "unions"):
        assert len(found[table]) == len(expected[table])
        for row, want in zip(found[table], expected[table], strict=True):
            for column, value in want.items():
                if column in UNLIKE:
                    continue
                near = pytest.approx(value, rel=tolerance, abs=tolerance) if is_number(value) else value
                assert row[column] == near, (table, column, row, want)


def is_number(value):
    return isinstance(value, float) or (isinstance(value, list) and value and isinstance(value[0], float))


@pytest.fixture(scope="module")
def merged(run):
    return rows(run, states="merged", experts="merged")[0]


@pytest.mark.parametrize(("states", "experts"), [("adapter", "adapter"), ("merged", "adapter"), ("adapter", "merged")])
def test_adapters_give_what_merging_gives(run, merged, states, experts):
    """Adapters among themselves, and beside whole checkpoints."""
    assert_same(rows(run, states=states, experts=experts)[0], merged)


def test_increments_of_adapters_give_what_merging_gives(run):
    increments = {"updates": "increments", "experts": None}
    assert_same(rows(run, **increments)[0], rows(run, states="merged", **increments)[0])


def test_increments_from_an_adapter_to_a_whole_checkpoint_and_back(plain, tmp_path):
    """Step 2 is whole, steps 1 and 3 are adapters: both differences between them are dense."""
    mixed = tmp_path / "mixed"
    shutil.copytree(plain, mixed)
    shutil.rmtree(mixed / "state2" / "adapter")
    shutil.copytree(mixed / "state2" / "merged", mixed / "state2" / "adapter")
    found, _ = rows(mixed, updates="increments", experts=None)
    assert_same(found, rows(plain, updates="increments", states="merged", experts=None)[0])
    shares = {(row["object"], row["step"]): row["changed_share"] for row in found["updates"]}
    assert shares["state", 2] > 0.99  # both ends are stored
    assert shares["task:t2", 2] is shares["task:t3", 3] is shares["state", 1] is None


def test_the_quick_spectrum_and_little_memory_change_nothing(plain):
    expected, _ = rows(plain, states="merged", experts="merged")
    found, extraction = rows(plain, experts="merged", spectrum="krylov")
    assert_same(found, expected, tolerance=1e-5)
    small = replace(extraction, run=replace(extraction.run, memory=1))
    again = {}
    for of_layer in (part.rows for part in small.layer_results()):
        for table, some in of_layer.items():
            again.setdefault(table, []).extend(some)
    assert_same(again, found, tolerance=1e-6)


def test_no_product_is_formed_and_the_base_is_not_read(plain, monkeypatch):
    """Every matrix that is measured has at most as many rows as the two ranks of an increment."""
    shapes = []
    original = weights_room.LayerUpdates.matrix

    def watched(self, index):
        matrix = original(self, index)
        shapes.append(tuple(matrix.shape))
        return matrix

    def never(*_args):
        raise AssertionError("a whole weight was read")

    monkeypatch.setattr(weights_room.LayerUpdates, "matrix", watched)
    monkeypatch.setattr("geodiag.checkpoints.Checkpoint.read_layer", never)
    rows(plain)
    assert {n for n, _ in shapes} == {4}
    shapes.clear()
    rows(plain, updates="increments", experts=None)
    assert {n for n, _ in shapes} == {4, 8}


def test_layers_that_an_adapter_leaves_out_are_zero_and_counted(tmp_path):
    """Attention only in step 2, feed-forward only in step 3: the rest are updates of zero without geometry."""
    root = write_runs(tmp_path, *KINDS["lora"], steps=3)
    kind = {"r": 4, "lora_alpha": 8}
    for t, modules in ((2, ["q_proj", "v_proj"]), (3, ["down_proj"])):
        for name in (f"state{t}", f"expert{t}"):
            shutil.rmtree(root / name)
            save_pair(root / name, LLAMA, kind | {"target_modules": modules}, seed=t)
    found, extraction = rows(root)
    assert_same(found, rows(root, states="merged", experts="merged")[0])
    zero = [row for row in found["updates"] if row["norm"] == 0]
    # Two blocks; of seven families step 2 leaves five and step 3 six, each as a state and as a task.
    assert len(zero) == 2 * 2 * (5 + 6)
    for row in zero:
        assert (row["rank"], row["changed_share"], row["singular_values"]) == (0, 0.0, [])
        assert row["stable_rank"] is row["energy_kept"] is None
        assert row["rounding_floor"] == 0
    empty = {(row["object"], row["layer"]) for row in zero if row["step"] == 2}
    for row in found["pairs"]:
        if row["step"] == 2 and row["kind"] == "state" and ("state", row["layer"]) in empty:
            assert row["sar"] is row["conflict"] is None
    assert extraction.notes == (
        "run r: 6 LoRA adapters, kept factored: 40 layers with factors; 44 layers that they leave as the base has them "
        "count as updates of zero",
    )


def test_the_floor_is_that_of_the_stored_factors(plain, tmp_path):
    """Factors rounded to bfloat16: the floor is about the error that this made, a few thousandths of the norm."""
    rounded = tmp_path / "rounded"
    shutil.copytree(plain, rounded)
    for file in rounded.glob("*/adapter/adapter_model.safetensors"):
        save_file({name: value.to(torch.bfloat16) for name, value in load_file(file).items()}, file)
    found, exact = rows(rounded)[0], rows(plain)[0]
    for row, true in zip(found["updates"], exact["updates"], strict=True):
        assert row["changed_share"] is None
        # Two factors, each off by 2^-9 of itself at most, and by 2^-8 / sqrt(12) times some 0.7 on average.
        assert 2**-10.5 < row["rounding_floor"] / row["norm"] < 2**-8
        assert true["rounding_floor"] < 1e-12 * true["norm"]


def test_other_exporters_names_and_folders_give_the_same(plain, tmp_path):
    """`.default.` in keys, no prefix, and the folder of a named adapter."""
    other = tmp_path / "other"
    shutil.copytree(plain, other)
    for t, rename in enumerate((named, bare, kept), start=1):
        folder = other / f"state{t}" / "adapter"
        weights = load_file(folder / "adapter_model.safetensors")
        save_file({rename(name): value for name, value in weights.items()}, folder / "adapter_model.safetensors")
    shutil.move(other / "expert1" / "adapter", other / "moved")
    (other / "expert1" / "adapter").mkdir()
    shutil.move(other / "moved", other / "expert1" / "adapter" / "biology")
    assert_same(rows(other)[0], rows(plain)[0], tolerance=1e-15)


def named(name):
    return name.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")


def bare(name):
    return name.removeprefix("base_model.model.")


def kept(name):
    return name


def test_alpha_scales_and_another_alpha_is_another_checkpoint(plain, tmp_path):
    from geodiag.checkpoints import fingerprint

    doubled = tmp_path / "doubled"
    shutil.copytree(plain, doubled)
    for file in doubled.glob("state*/adapter/adapter_config.json"):
        config = json.loads(file.read_text())
        file.write_text(json.dumps(config | {"lora_alpha": 16}))
    (found, new), (expected, old) = rows(doubled), rows(plain)
    for row, want in zip(found["updates"], expected["updates"], strict=True):
        factor = 2 if row["object"] == "state" else 1
        assert row["norm"] == pytest.approx(factor * want["norm"], rel=1e-12)
    for row, want in zip(found["pairs"], expected["pairs"], strict=True):
        assert row["sar"] == pytest.approx(want["sar"], rel=1e-12)
    prints = [[fingerprint(c) for c in extraction.run.checkpoints.values()] for extraction in (old, new)]
    assert [a == b for a, b in zip(*prints, strict=True)].count(False) >= 3


def test_wide_spectra_are_kept_no_wider_than_needed(plain, monkeypatch):
    """A rank of 32 on adapters of rank 4 compares four columns."""
    widths = []
    original = layer_room.cross_gram

    def watched(V, W):
        widths.extend((V.shape[-1], W.shape[-1]))
        return original(V, W)

    monkeypatch.setattr(layer_room, "cross_gram", watched)
    rows(plain, energy=1.0)
    assert set(widths) == {4}
