"""A run that gained steps: with the bases of earlier tasks, new rows are those of a whole extraction."""

import math

import pytest

from geodiag.extraction.measurements.geometry.alignment import read_bases, write_bases
from geodiag.extraction.measurements.geometry.run import prepare_geometry as prepare
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.runs import load_manifest
from tests import synthetic

STORED, STEPS = 2, 4


@pytest.fixture(params=[("experts", "all"), ("increments", "all"), ("experts", 2), ("experts", "anchor")], ids=str)
def extraction(request, tmp_path):
    updates, memory = request.param
    folder = synthetic.write_run(tmp_path / "run", steps=STEPS, updates=updates, memory=memory)
    return prepare(load_manifest(folder), make_settings(rank=8), device="cpu")


def test_new_steps_by_known_bases_equal_a_whole_extraction(extraction, tmp_path):
    whole = {part.layer.name: part for part in extraction.layer_results()}
    for name, part in whole.items():
        write_bases(tmp_path / name, {task: part.bases[task] for task in list(part.bases)[:STORED]})
    added = {
        part.layer.name: part
        for part in extraction.after(STORED).layer_results(known=lambda layer: read_bases(tmp_path / layer.name))
    }
    assert set(added) == set(whole)
    for name, part in added.items():
        assert list(part.bases) == [f"task:task_{t}" for t in range(STORED + 1, STEPS + 1)]
        for table in ("updates", "pairs", "unions"):
            wanted = [row for row in whole[name].rows[table] if row["step"] > STORED]
            assert len(part.rows[table]) == len(wanted) > 0
            for got, want in zip(part.rows[table], wanted, strict=True):
                assert_same(got, want)


def assert_same(got, want):
    """Equal but for the single precision in which bases are kept."""
    assert got.keys() == want.keys()
    for column, value in want.items():
        if isinstance(value, float):
            assert got[column] == pytest.approx(value, rel=1e-5, abs=1e-9), column
        elif isinstance(value, list):
            assert got[column] == pytest.approx(value, rel=1e-5), column
        else:
            assert got[column] == value, column


def test_without_bases_they_are_computed_again(extraction):
    wanted = {(p.layer.name, len(p.rows["pairs"])) for p in extraction.after(STORED).layer_results()}
    steps = {row["step"] for part in extraction.after(STORED).layer_results() for row in part.rows["pairs"]}
    assert steps == {3, 4}
    assert len(wanted) == len(synthetic.SHAPES)


def test_only_what_is_new_or_met_is_read(tmp_path, monkeypatch):
    """Stored states are not read again, nor are experts outside the active sets of the new steps."""
    from geodiag.checkpoints import Checkpoint

    read = set()
    original = Checkpoint.read_layer
    monkeypatch.setattr(
        Checkpoint,
        "read_layer",
        lambda checkpoint, *rest, **more: read.add(checkpoint.path.name) or original(checkpoint, *rest, **more),
    )
    folder = synthetic.write_run(tmp_path / "run", steps=STEPS, memory=2)
    list(prepare(load_manifest(folder), make_settings(), device="cpu").after(3).layer_results())
    assert read == {"base", "t3", "t4", "s3", "s4"}  # s3 for the norm of the last increment


def test_bases_survive_the_disk(tmp_path):
    folder = synthetic.write_run(tmp_path / "run", steps=2)
    (part, *_) = prepare(load_manifest(folder), make_settings(rank=8), device="cpu").layer_results()
    write_bases(tmp_path / "bases" / "layer", part.bases)
    again = read_bases(tmp_path / "bases" / "layer")
    assert again.keys() == part.bases.keys()
    for name, basis in part.bases.items():
        assert again[name].s.tolist() == basis.s.tolist()
        assert (again[name].norm, again[name].s_1) == (basis.norm, basis.s_1)
        assert math.isclose(again[name].energy_kept, basis.energy_kept)
        assert (again[name].V - basis.V).abs().max() < 1e-6


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_bases_that_cannot_be_read_are_none(tmp_path, damage):
    path = tmp_path / "layer"
    if damage != "missing":
        folder = synthetic.write_run(tmp_path / "run", steps=2)
        (part, *_) = prepare(load_manifest(folder), make_settings(), device="cpu").layer_results()
        write_bases(path, part.bases)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"not a safetensors file")
    assert read_bases(path) == {}
