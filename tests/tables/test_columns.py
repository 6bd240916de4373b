"""Tables have the columns, names and labels of the published ones."""

import polars as pl
import pytest

from geodiag.paper import list_paper, load_paper
from geodiag.signals import PAIR_SIGNALS, PAIR_TARGETS, SIGNALS, TARGETS
from geodiag.tables import ANALYSIS_TABLES
from geodiag.tables.rankings import PAIR_PREDICTORS, STEP_PREDICTORS

# Tables of the paper's own merging experiments, which say nothing of a store.
ELSEWHERE = ("table25", "table30", "table33", "table34")
PUBLISHED = [name for name in list_paper() if not name.startswith(ELSEWHERE)]


def test_every_published_table_is_built():
    assert set(PUBLISHED) <= {table.name for table in ANALYSIS_TABLES}


def test_tables_without_published_csv_are_built():
    names = [table.name for table in ANALYSIS_TABLES]
    assert all(any(name.startswith(stem) for name in names) for stem in ("table08_", "table11_", "table20_"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_columns_are_the_published(name, tables):
    assert tables[name].columns == load_paper(name).columns


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("column", ["signal", "target", "predictor", "relation", "ranking"])
def test_labels_are_the_published(name, column, tables):
    published = load_paper(name)
    if column in published.columns:
        assert set(published[column]) <= set(tables[name][column])


RANKED = ("table10", "table15", "fig18")  # by what was measured


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.startswith(RANKED)])
def test_rows_stand_in_the_published_order(name, tables):
    published = load_paper(name)
    for column in {"signal", "target", "relation", "ranking", "family"} & set(published.columns):
        ours, theirs = (list(dict.fromkeys(frame[column])) for frame in (tables[name], published))
        assert [entry for entry in ours if entry in theirs] == [entry for entry in theirs if entry in ours]


def test_undefined_is_null_never_nan(tables):
    for name, frame in tables.items():
        floats = frame.select(pl.col(pl.Float64))
        assert sum(column.is_nan().sum() for column in floats) == 0, name


def test_predictors_are_columns_that_exist(steps, pairs):
    assert {p.column for p in STEP_PREDICTORS} <= set(steps.columns)
    assert {p.column for p in PAIR_PREDICTORS} - {"update_norm", "state_norm"} <= set(pairs.columns)


@pytest.mark.parametrize("predictors", [STEP_PREDICTORS, PAIR_PREDICTORS])
def test_every_ranking_has_step_index_and_norms(predictors):
    assert {"step", "update_norm", "state_norm"} <= {p.column for p in predictors}
    assert len({p.label for p in predictors}) == len(predictors)


def test_merged_norm_is_the_released_codes_sum():
    assert {p.label: p.column for p in STEP_PREDICTORS}["Merged norm"] == "state_norm_sum"


def test_confounds_hold_every_signal_and_outcome(tables):
    ways = ["pooled", "within", "between", "step_partial", "norm_partial"]
    for name, signals, targets in (("confounds", SIGNALS, TARGETS), ("confounds_pairs", PAIR_SIGNALS, PAIR_TARGETS)):
        wanted = [(t.name, s.name, w) for t in targets for s in signals for w in ways]
        assert tables[name].select("target", "signal", "correlation").rows() == wanted


def test_names_are_unique_and_every_table_says_its_doubts():
    assert len({table.name for table in ANALYSIS_TABLES}) == len(ANALYSIS_TABLES)
    for table in ANALYSIS_TABLES:
        assert table.title
        assert table.question.endswith(("?", "."))
        assert table.distrust.endswith(".")
