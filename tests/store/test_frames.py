import math

import polars as pl
import pytest

from geodiag.errors import StoreError
from geodiag.store.schema import check_frame

from .builders import frame, tables


def scores(**changes):
    return frame("scores", [{"step": 1, "task": "a", "score": 0.5, **changes}])


def refusal(table, rows, run="r"):
    with pytest.raises(StoreError) as caught:
        check_frame(table, run, rows)
    return str(caught.value)


def test_the_run_is_filled_in_and_columns_and_rows_are_ordered():
    rows = pl.concat([scores(task="b"), scores(task="a")]).select("n", "score", "task", "stderr", "step")
    checked = check_frame("scores", "r", rows)
    assert checked.columns == ["run", "step", "task", "score", "stderr", "n"]
    assert checked.rows() == [("r", 1, "a", 0.5, None, None), ("r", 1, "b", 0.5, None, None)]


def test_a_column_of_nothing_but_nulls_may_be_untyped():
    rows = scores().with_columns(stderr=None, n=None)
    assert rows.schema["n"] == pl.Null
    assert check_frame("scores", "r", rows).schema["n"] == pl.Int64


def test_missing_and_extra_columns_are_named():
    said = refusal("scores", scores().drop("score", "n").with_columns(metric=pl.lit("acc")))
    assert said.startswith("run r: table scores lacks score, n and does not know metric; give run, step, task")


def test_a_wrong_type_is_named():
    said = refusal("scores", scores().with_columns(pl.col("step").cast(pl.Int64)))
    assert said == "run r: scores.step is Int64; cast it to Int32"


def test_rows_of_another_run():
    rows = scores().with_columns(run=pl.lit("s"))
    assert refusal("scores", rows) == "run r: table scores holds rows of run 's'; write a run at a time"


def test_a_value_that_must_be_there():
    assert refusal("scores", scores(score=None)) == "run r: scores.score is null in 1 rows; it must be given"
    assert "scores.task is null" in refusal("scores", scores(task=None))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_undefined_values_in_disguise(bad):
    expected = "NaN or infinite in 1 places; undefined values are null"
    assert expected in refusal("scores", scores(score=bad))
    updates = tables()["updates"].with_columns(
        singular_values=pl.Series([[1.0, bad], [1.0]], dtype=pl.List(pl.Float64))
    )
    assert f"updates.singular_values is {expected}" in refusal("updates", updates)


def test_empty_and_null_lists_are_fine():
    lists = pl.Series([[], None], dtype=pl.List(pl.Float64))
    updates = tables()["updates"].with_columns(singular_values=lists)
    assert check_frame("updates", "r", updates)["singular_values"].to_list() == [[], None]


def test_a_key_given_twice_is_named():
    rows = pl.concat([scores(), scores(score=0.7)])
    said = refusal("scores", rows)
    assert said == "run r: table scores has two rows for step 1, task a; give each key once"


def test_an_unknown_table():
    assert refusal("score", scores()).startswith("there is no table 'score'; one of: runs, active,")


def test_a_frame_without_rows_is_checked_too():
    assert check_frame("scores", "r", scores().clear()).height == 0
    assert "lacks score" in refusal("scores", scores().clear().drop("score"))
