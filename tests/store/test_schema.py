import polars as pl
import pytest

from geodiag.store import TABLES

# The agreed tables: key, and the columns beside it.
AGREED = {
    "runs": ("run", "size method seed n_steps n_layers base config geodiag_version created"),
    "active": ("run step object", "role task"),
    "layers": ("run layer", "block family d_out d_in dtype"),
    "updates": (
        "run step object layer",
        "block family norm increment_norm rank energy_kept stable_rank changed_share rounding_floor singular_values",
    ),
    "pairs": (
        "run step kind object_i object_j layer",
        "block family sar_ij sar_ji sar conflict bures_sq trace_i trace_j union_rank lambda_share",
    ),
    "unions": ("run step layer", "active_rank state_rank"),
    "gradients": (
        "run step layer task_i task_j",
        "block family cos dot norm_i norm_j reliability_i reliability_j",
    ),
    "scores": ("run step task", "score stderr n"),
    "merges": (
        "run step layer",
        "block family active new_norm merged_norm state_norm conflict alpha share union_rank "
        "metric_trace metric_iterations metric_residual products gradient_error",
    ),
}
INTEGERS = [
    "step",
    "block",
    "d_out",
    "d_in",
    "rank",
    "union_rank",
    "active_rank",
    "state_rank",
    "n_steps",
    "n_layers",
    "active",
    "metric_iterations",
    "products",
]


def test_the_tables_are_the_agreed_ones():
    assert set(TABLES) == set(AGREED)


@pytest.mark.parametrize("name", AGREED)
def test_columns_and_key(name):
    key, beside = (part.split() for part in AGREED[name])
    assert list(TABLES[name].key) == key
    assert list(TABLES[name].columns) == [*key, *beside]


@pytest.mark.parametrize("name", AGREED)
def test_a_key_is_never_null_and_every_column_says_what_it_means(name):
    for column in TABLES[name].fields:
        assert not (column.nullable and column.name in TABLES[name].key)
        assert column.meaning


@pytest.mark.parametrize("name", AGREED)
def test_types(name):
    for column, dtype in TABLES[name].columns.items():
        if column in INTEGERS:
            assert dtype == pl.Int32
        elif column == "singular_values":
            assert dtype == pl.List(pl.Float64)
        elif column == "created":
            assert dtype == pl.Datetime("us", "UTC")
        else:
            assert dtype in (pl.Float64, pl.String, pl.Int64)


@pytest.mark.parametrize("name", AGREED)
def test_an_empty_frame_has_the_columns_and_types(name):
    empty = TABLES[name].empty()
    assert empty.height == 0
    assert dict(empty.schema) == dict(TABLES[name].columns)
