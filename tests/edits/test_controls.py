"""Matched random sets by construction, and the catalogue of edits by hand."""

from __future__ import annotations

from collections import Counter

from geodiag.extraction.measurements.edits.catalogue import (
    choosing_edits,
    choosing_names,
    complement,
    mean_harm,
    normalised_benefit,
)
from geodiag.extraction.measurements.edits.controls import matched_sets
from geodiag.models.groups import ParameterGroup

FAMILIES = ("q_proj", "v_proj", "down_proj")


def group(name, block, family):
    return ParameterGroup(name, block, family, ())


GROUPS = {
    f"model.layers.{block}.{family}": group(f"model.layers.{block}.{family}", block, family)
    for block in range(8)
    for family in FAMILIES
} | {name: group(name, None, name) for name in ("embedding", "lm_head", "norm")}
MATRICES = [g for g in GROUPS.values() if g.block is not None]
EQUAL = dict.fromkeys(GROUPS, 1.0)


def edits(**keys):
    given = {"harm": EQUAL, "benefit": {}, "names": ("run", "2", "old"), "project": True, "transplant": True} | keys
    return {edit.name: edit for edit in choosing_edits(GROUPS, **given)}


def families_of(names):
    return Counter(GROUPS[name].family for name in names)


def test_a_matched_set_has_the_families_and_the_norm_of_the_chosen_one():
    squared = {name: 1.0 + (n % 5) for n, name in enumerate(GROUPS)}
    chosen = ["model.layers.1.q_proj", "model.layers.2.q_proj", "model.layers.5.down_proj"]
    sets = matched_sets(chosen, MATRICES, squared, names=("run", "3", "a"))
    assert len(sets) == 19
    target = sum(squared[name] for name in chosen)
    for own in sets:
        assert families_of(own) == families_of(chosen)
        assert abs(sum(squared[name] for name in own) - target) <= 0.2 * target
        assert set(own) != set(chosen)
    assert sets == matched_sets(chosen, MATRICES, squared, names=("run", "3", "a"))
    assert sets != matched_sets(chosen, MATRICES, squared, names=("run", "4", "a"))


def test_where_no_draw_matches_the_nearest_is_taken():
    squared = dict.fromkeys(GROUPS, 1.0) | {"model.layers.0.q_proj": 100.0, "model.layers.7.q_proj": 40.0}
    sets = matched_sets(["model.layers.0.q_proj"], MATRICES, squared, names=("run",))
    assert set(sets) == {("model.layers.7.q_proj",)}


def test_a_whole_family_is_matched_from_all_families():
    chosen = [name for name in GROUPS if name.endswith("q_proj")]
    for own in matched_sets(chosen, MATRICES, EQUAL, names=("run",)):
        assert len(own) == 8
        assert set(own) != set(chosen)


def test_harm_is_the_mean_of_shares_of_the_increase():
    first, second = {"a": 3.0, "b": 1.0, "c": -5.0}, {"a": 0.0, "b": 2.0, "c": 2.0}
    assert mean_harm([first, second]) == {"a": 0.375, "b": 0.375, "c": 0.25}
    assert normalised_benefit({"a": -1.0, "b": -3.0, "c": 2.0}) == {"a": 0.25, "b": 0.75, "c": 0.0}


def test_top_sets_are_those_with_most_harm_less_benefit():
    harm = {name: float(n) for n, name in enumerate(GROUPS)}
    benefit = {g.name: 100.0 * (g.block == 7) for g in MATRICES}
    found = edits(harm=harm, benefit=benefit)
    assert len(found["revert top 10%"].groups) == 2
    assert set(found["revert top 10%"].groups) == {"model.layers.6.down_proj", "model.layers.6.v_proj"}
    assert [GROUPS[name].block for name in found["revert 25% by harm"].groups] == [6, 6, 6, 7, 7, 7]
    assert len(found["scale 0.5 of harmful half"].groups) == 12
    assert found["scale 0.25 of harmful half"].factor == 0.25


def test_bands_families_and_the_rest():
    found = edits()
    bands = [edit.groups for edit in found.values() if edit.kind == "band"]
    assert len(bands) == 6
    assert sorted(name for band in bands for name in band) == sorted(g.name for g in MATRICES)
    assert found["revert embedding and head"].groups == ("embedding", "lm_head")
    assert len([edit for edit in found.values() if edit.kind == "random"]) == 3
    assert set(found) == set(choosing_names(GROUPS))
    assert "project" not in edits(project=False)
    rest = complement(found["revert q_proj"], GROUPS, name="rest")
    assert sorted(rest.groups + found["revert q_proj"].groups) == sorted(GROUPS)
