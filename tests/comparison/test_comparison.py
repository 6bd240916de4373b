"""Two checkpoints compared, against definitions written out in numpy."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import geodiag
from geodiag.cli import main
from geodiag.common.schema import FAMILIES
from geodiag.comparison import Comparison, LayerChange
from geodiag.errors import CheckpointError, SettingsError
from tests import synthetic

LAYERS = [f"model.layers.{b}.{name}" for b in range(2) for name in synthetic.SHAPES]


def half_ulp_floor(weight):
    """sqrt(sum ulp^2 / 12) of numbers stored as float32, by numpy's own spacing."""
    return math.sqrt(np.sum(np.spacing(np.abs(weight.astype(np.float32))).astype(np.float64) ** 2) / 12)


@pytest.fixture
def pair(tmp_path):
    """A base and a moved copy of it in float32: two blocks, the first v_proj left as it was."""
    g = torch.Generator().manual_seed(3)
    base = synthetic.random_weights(2, g)
    moved = synthetic.add_update(base, g, scale=0.5)
    kept = "model.layers.0.self_attn.v_proj.weight"
    moved[kept] = base[kept]
    half = "model.layers.1.mlp.up_proj.weight"
    moved[half] = torch.cat([moved[half][:40], base[half][40:]])  # only the upper half moves
    a, b = (synthetic.save_checkpoint(tmp_path / name, w) for name, w in (("a", base), ("b", moved)))
    return a, b


def stored(folder, layer):
    return synthetic.read_weights(folder)[f"{layer}.weight"].numpy()


def test_measures_of_a_layer_are_their_definitions(pair):
    a, b = pair
    found = geodiag.diff(a, b, device="cpu")
    assert [layer.layer for layer in found.layers] == LAYERS
    for layer in found.layers:
        W = stored(a, layer.layer)
        D = (stored(b, layer.layer).astype(np.float32) - W.astype(np.float32)).astype(np.float64)
        assert layer.norm == pytest.approx(np.linalg.norm(D), rel=1e-6)
        assert layer.base_norm == pytest.approx(np.linalg.norm(W), rel=1e-6)
        assert layer.changed_share == pytest.approx(np.mean(stored(b, layer.layer) != W))
        assert layer.rounding_floor == pytest.approx(
            math.hypot(half_ulp_floor(W), half_ulp_floor(stored(b, layer.layer))), rel=1e-5
        )
        if not D.any():
            assert (layer.norm, layer.stable_rank, layer.energy) == (0.0, None, None)
            continue
        s = np.linalg.svd(D, compute_uv=False)
        assert layer.relative_norm == pytest.approx(np.linalg.norm(D) / np.linalg.norm(W), rel=1e-6)
        assert layer.stable_rank == pytest.approx(np.sum(s**2) / s[0] ** 2, rel=1e-4)
        assert layer.energy == pytest.approx(np.sum(s[:32] ** 2) / np.sum(s**2), abs=1e-4)
    by_name = {layer.layer: layer for layer in found.layers}
    assert by_name["model.layers.0.self_attn.v_proj"].changed_share == 0.0
    assert by_name["model.layers.1.mlp.up_proj"].changed_share == pytest.approx(0.5, abs=0.01)


def test_families_gather_their_layers(pair):
    a, b = pair
    found = geodiag.diff(a, b, device="cpu")
    total = sum(layer.norm**2 for layer in found.layers)
    assert [family.family for family in found.families] == list(FAMILIES)
    for family in found.families:
        one, two = (layer for layer in found.layers if layer.family == family.family)
        assert family.layers == 2
        assert family.norm == pytest.approx(math.sqrt(one.norm**2 + two.norm**2))
        assert family.relative_norm == pytest.approx(family.norm / math.sqrt(one.base_norm**2 + two.base_norm**2))
        assert family.share == pytest.approx(family.norm**2 / total)
        assert family.changed_share == pytest.approx((one.changed_share + two.changed_share) / 2)
    v = found.families[FAMILIES.index("v_proj")]
    assert (v.unchanged, v.stable_rank) == (1, found.layers[9].stable_rank)
    assert sum(family.share for family in found.families) == pytest.approx(1.0)


def layer(name="x", family="q_proj", block=0, **numbers):
    known = {"norm": 1.0, "base_norm": 2.0, "relative_norm": 0.5, "changed_share": 1.0, "rounding_floor": 0.1}
    return LayerChange(name, block, family, 2, 4, **(known | {"stable_rank": 1.0, "energy": 1.0} | numbers))


def of_layers(*layers, **more):
    return Comparison("a", "b", "checkpoint", layers, more.get("left_out", {}), more.get("warnings", ()))


def test_gathering_by_hand():
    found = of_layers(
        layer("one", norm=3.0, base_norm=6.0, stable_rank=2.0, energy=0.5, changed_share=1.0),
        layer("two", norm=4.0, base_norm=8.0, stable_rank=5.0, energy=1.0, changed_share=0.0, block=1),
        layer("zero", norm=0.0, base_norm=0.0, relative_norm=None, stable_rank=None, energy=None, block=2),
    )
    (family,) = found.families
    assert (family.norm, family.relative_norm, family.share) == (5.0, 0.5, 1.0)
    assert (family.stable_rank, family.unchanged) == (3.5, 1)
    assert family.energy == pytest.approx((0.5 * 9 + 1.0 * 16) / 25)
    assert family.changed_share == pytest.approx(2 / 3)
    assert found.grid().rows() == [(0, "q_proj", 0.5), (1, "q_proj", 0.5), (2, "q_proj", None)]


def test_experts_of_a_block_are_one_cell_of_the_map():
    found = of_layers(layer("e0", norm=3.0, base_norm=6.0), layer("e1", norm=4.0, base_norm=8.0))
    assert found.grid().rows() == [(0, "q_proj", 0.5)]


def test_what_moved_most_is_first_and_what_did_not_is_left_out():
    found = of_layers(
        layer("small", relative_norm=0.1),
        layer("large", relative_norm=0.9),
        layer("still", norm=0.0, relative_norm=0.0),
        layer("from nothing", base_norm=0.0, relative_norm=None),
    )
    assert [m.layer for m in found.most_moved()] == ["from nothing", "large", "small"]
    assert [m.layer for m in found.most_moved(1)] == ["from nothing"]


def test_changes_that_rounding_may_give_are_called_so(tmp_path):
    weights = synthetic.random_weights(1, torch.Generator().manual_seed(0))
    a = synthetic.save_checkpoint(tmp_path / "a", weights, dtype=torch.bfloat16)
    # The same weights read back and stored again with noise of a tenth of a unit in the last place.
    noisy = {k: v + 1e-4 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1)) for k, v in weights.items()}
    b = synthetic.save_checkpoint(tmp_path / "b", noisy, dtype=torch.bfloat16)
    found = geodiag.diff(a, b, device="cpu")
    assert all(layer.is_rounding for layer in found.layers)
    assert "7 layers changed by no more than rounding may give; do not read them" in found.to_text()


def test_one_checkpoint_with_itself(pair):
    found = geodiag.diff(pair[0], pair[0], device="cpu")
    assert found.norm == 0.0
    assert all(f.unchanged == 2 and f.share is None and f.energy is None for f in found.families)
    text = found.to_text()
    assert "14 layers did not change" in text
    assert "moved most" not in text
    assert "NaN" not in found.to_json()
    assert "from 0 to 0" in found._repr_html_()


@pytest.fixture
def adapted(tmp_path):
    """A base in float64, an adapter of its q_proj and, with zeros, its o_proj, and the merged checkpoint."""
    g = torch.Generator().manual_seed(5)
    base = synthetic.random_weights(1, g)
    folder = tmp_path / "lora"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    B, A = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((48, 4), (4, 48)))
    prefix = "base_model.model.model.layers.0.self_attn"
    factors = {f"{prefix}.q_proj.lora_B.weight": B, f"{prefix}.q_proj.lora_A.weight": A}
    factors |= {f"{prefix}.o_proj.lora_B.weight": torch.zeros_like(B), f"{prefix}.o_proj.lora_A.weight": A.clone()}
    save_file(factors, folder / "adapter_model.safetensors")
    q = "model.layers.0.self_attn.q_proj.weight"
    a = synthetic.save_checkpoint(tmp_path / "base", base, dtype=torch.float64)
    b = synthetic.save_checkpoint(tmp_path / "merged", base | {q: base[q] + 2 * B @ A}, dtype=torch.float64)
    return a, folder, b


def test_an_adapter_is_what_it_merges_into(adapted):
    a, lora, merged = adapted
    factored, dense = geodiag.diff(a, lora, device="cpu"), geodiag.diff(a, merged, device="cpu")
    assert (factored.kind, dense.kind) == ("adapter", "checkpoint")
    for one, two in zip(factored.layers, dense.layers, strict=True):
        assert one.norm == pytest.approx(two.norm, rel=1e-9)
        assert one.relative_norm == pytest.approx(two.relative_norm, rel=1e-9)
        if one.family == "q_proj":
            assert one.stable_rank == pytest.approx(two.stable_rank, rel=1e-6)
            assert one.energy == pytest.approx(two.energy, rel=1e-6)
        else:
            assert one.norm == 0.0
            assert one.stable_rank is one.energy is two.stable_rank is two.energy is None
    shares = {layer.family: layer.changed_share for layer in factored.layers}
    assert shares == dict.fromkeys(FAMILIES, 0.0) | {"q_proj": None}  # the product is never formed


def test_a_row_at_a_time_for_people(pair):
    found = geodiag.diff(*pair, families=["down_proj", "v_proj"], device="cpu")
    lines = found.to_text(top=1).splitlines()
    assert lines[0] == f"{pair[0]} -> {pair[1]} (checkpoint)"
    assert lines[1].startswith("4 layers: norm ")
    assert lines[2:4] == ["1 layer did not change", "left out 12 tensors: 10 family, 1 embedding, 1 norm"]
    head = "family     layers  share   norm  relative  changed  rounding  stable rank  energy in 32"
    assert lines[5].split() == head.split()
    assert [line.split()[:2] for line in lines[6:8]] == [["v_proj", "2"], ["down_proj", "2"]]
    assert lines[9] == "moved most, relative to their size:"
    assert len(lines) == 12
    assert str(found) == found.to_text()
    assert found.to_frame().height == 4


def test_json_holds_every_number(pair):
    found = geodiag.diff(*pair, device="cpu")
    data = json.loads(found.to_json())
    assert [layer["layer"] for layer in data["layers"]] == LAYERS
    assert data["layers"][2]["stable_rank"] is None
    assert data["families"][0]["norm"] == found.families[0].norm
    assert (data["directions"], data["norm"], data["kind"]) == (32, found.norm, "checkpoint")


def test_a_notebook_shows_tables_and_a_map(pair):
    html = geodiag.diff(*pair, device="cpu")._repr_html_()
    assert html.count("<table") == 3
    assert html.count(" title='") == 14
    assert "title='v_proj, block 0: 0'" in html
    assert html.count("/ 100%)") == 1  # the cell that moved most
    assert "<script" not in html


def test_the_map_escapes_names(pair, tmp_path):
    strange = pair[0].rename(tmp_path / "a<b>")
    assert "a<b>" not in geodiag.diff(strange, pair[1], device="cpu")._repr_html_()


@pytest.fixture
def command(capsys):
    def run(*arguments, expect=0):
        with pytest.raises(SystemExit) as stopped:
            main(["diff", *map(str, arguments)])
        assert (stopped.value.code or 0) == expect
        return capsys.readouterr()

    return run


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_from_the_shell(pair, command, tmp_path, form):
    picture = tmp_path / f"map.{form}"
    said = command(*pair, "--heatmap", picture, "--top", 3)
    assert said.out.splitlines()[-1] == f"drawn: {picture}"
    assert picture.stat().st_size > 1000


def test_json_alone_on_standard_output(pair, command, tmp_path):
    said = command(*pair, "--json", "--heatmap", tmp_path / "map.png")
    assert len(json.loads(said.out)["layers"]) == 14


def test_the_heatmap_draws_the_grid(pair):
    from matplotlib import pyplot as plt

    from geodiag.figures.layer_heatmaps import change_heatmap

    grid = geodiag.diff(*pair, device="cpu").grid()
    ax = change_heatmap(grid)
    drawn = ax.collections[0].get_array()
    assert drawn.shape == (2, 7)
    for block, family, value in grid.iter_rows():
        assert drawn[block, FAMILIES.index(family)] == pytest.approx(value)
    plt.close(ax.figure)


def line_of(*arguments, **more):
    with pytest.raises((CheckpointError, SettingsError)) as caught:
        geodiag.diff(*arguments, device="cpu", **more)
    return str(caught.value)


def test_what_is_refused(pair, adapted, tmp_path, command):
    a, b = pair
    other = synthetic.save_checkpoint(tmp_path / "c", synthetic.random_weights(1, torch.Generator()))
    assert line_of(a, other) == (
        f"{other}: tensor model.layers.1.self_attn.q_proj.weight: the tensor is missing here and present in the base "
        "(7 of 14 target layers do not fit); give a checkpoint of the base's own architecture, with all its weights"
    )
    assert line_of(adapted[1], a).startswith(
        f"{adapted[1]}: a LoRA adapter, not a checkpoint with whole weights; merge it first: python -c "
    )
    assert line_of(a, tmp_path / "none") == f"{tmp_path}/none: no such file or folder; check the path"
    assert line_of(a, b, families=["nope"]) == f"unknown family 'nope'; known families: {', '.join(FAMILIES)}"
    assert line_of(a, b, read="fast") == "--read: reading is 'fast'; one of mmap, buffered"
    assert command(a, b, "--heatmap", tmp_path / "map.jpg", expect=2).err == (
        f"geodiag: {tmp_path}/map.jpg: the ending '.jpg' is that of no picture; one of .png, .pdf, .svg\n"
    )
    assert command(a, b, "--heatmap", tmp_path / "no/map.png", expect=2).err == (
        f"geodiag: {tmp_path}/no/map.png: its folder is not there; make {tmp_path}/no first\n"
    )


def test_a_warning_of_the_layers_is_told():
    found = of_layers(layer(), warnings=("q_proj: different counts in different blocks",), left_out={"norm": 2})
    assert "warning: q_proj: different counts in different blocks" in found.to_text().splitlines()
    assert "warning: q_proj" in found._repr_html_()


def test_the_map_shows_what_is_not_defined_and_what_is_not_there():
    html = of_layers(
        layer("one", block=0),
        layer("zero", block=1, norm=0.0, base_norm=0.0),
        layer("other", block=1, family="k_proj"),
    )._repr_html_()
    assert "<td class='gd-none' title='q_proj, block 1: -'></td>" in html
    assert "<th scope='row'>k_proj</th><td></td><td title='k_proj, block 1: 0.5'" in html
