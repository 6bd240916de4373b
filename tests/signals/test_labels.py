"""One label a column and one column a label, in the catalogue, in code and in docs/glossary.md."""

import ast
import re
from pathlib import Path

import pytest

import geodiag
from geodiag.signals import HEALTH, PAIR_SIGNALS, PAIR_TARGETS, RUN_TARGETS, SIGNALS, TARGETS
from geodiag.signals.catalog import ENTRIES, PAIR_RELATIONS, PUBLISHED_COLUMNS, in_text, label
from geodiag.tables.confounds import WAYS
from geodiag.tables.rankings import PAIR_PREDICTORS, STEP_PREDICTORS

CATALOGUE = (*SIGNALS, *PAIR_SIGNALS, *TARGETS, *PAIR_TARGETS, *RUN_TARGETS, *HEALTH)
OTHERS = (
    *("median_sar", "median_gc", "mean_gc", "zero_updates"),
    *("top_geometry_conflict", "top_negative_gradient"),
)
NAMES = (*ENTRIES, *PAIR_RELATIONS, *OTHERS)
PACKAGE = Path(geodiag.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
OWN_LISTS = {"signals/catalog.py", "signals/catalog_signals.py", "signals/catalog_outcomes.py", "signals/labels.py"}
"""Modules that may write a label out: the catalogue itself,"""
OWN_LISTS |= {"tables/confounds.py", "tables/rankings.py"}
"""the labels of correlations, and the paper's names of predictors."""


def test_a_column_has_one_label_at_every_level():
    for entry in CATALOGUE:
        assert label(entry.name) == entry.label


def test_a_label_is_of_one_column():
    labels = [label(name) for name in NAMES]
    assert len(set(labels)) == len(labels) == len(set(NAMES))
    assert all(label(name) != name or name in ENTRIES for name in NAMES)


def test_a_published_name_is_no_column_of_ours_and_has_the_label_of_its_column():
    for name, column in PUBLISHED_COLUMNS.items():
        assert name not in NAMES
        assert column in NAMES
        assert label(name) == label(column)


@pytest.mark.parametrize("predictor", [*STEP_PREDICTORS, *PAIR_PREDICTORS], ids=lambda predictor: predictor.label)
def test_a_ranked_predictor_is_shown_under_the_label_of_its_column(predictor):
    name, clipped = predictor.label.removesuffix(" (clip)"), predictor.label.endswith(" (clip)")
    assert clipped == predictor.clipped
    assert label(name) == label(predictor.column)


def test_labels_in_sentences():
    assert [in_text(name) for name in ("global_gap", "old_task_mean", "gc_drop", "OP")] == [
        *("global gap", "old-task mean", "GC vs old-task change", "OP"),
    ]


def literals(path):
    return {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}


def test_no_other_module_writes_a_label_out():
    """Whoever shows a column asks the catalogue, so that no second label can arise. OP and the like are names too."""
    labels = {label(name) for name in (*NAMES, *PUBLISHED_COLUMNS)} | {way.label for way in WAYS}
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() not in OWN_LISTS:
            assert not literals(path) & (labels - set(NAMES)), path


def test_the_glossary_has_every_label_with_its_column_and_meaning():
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \|(?: .*?\|)? (.+) \|$", PAGE, flags=re.MULTILINE)
    meanings = {(entry.label, entry.name, entry.meaning) for entry in CATALOGUE}
    assert meanings <= set(rows)
    assert {(way.label, way.name, way.meaning) for way in WAYS} <= set(rows)
    assert {(label(name), name) for name in NAMES} <= {row[:2] for row in rows}
    assert {(f"`{name}`", column, label(name)) for name, column in PUBLISHED_COLUMNS.items()} <= set(rows)
