"""The tables' columns against those of 0.1.0, and what every declared column has to say."""

from pathlib import Path

import polars as pl
import pytest

from geodiag.store import TABLES, StoreReader

WRITTEN = Path(__file__).parents[1] / "data" / "store_0_1_0" / "store"
"""A store that 0.1.0 wrote; its files hold the columns of that version."""


def stored(table):
    """Column to type in the files of a table, as they are written; `run` is the name of their folder."""
    files = sorted((WRITTEN / table).glob("run=*/part-*.parquet"))
    schemas = {tuple(pl.read_parquet_schema(file).items()) for file in files}
    assert len(schemas) == 1
    return {"run": pl.String(), **dict(schemas.pop())}


TABLES_OF_0_1_0 = sorted(folder.name for folder in WRITTEN.iterdir() if folder.is_dir() and folder.name[0] != ".")


def test_every_table_of_0_1_0_is_there():
    assert sorted(["active", "gradients", "layers", "pairs", "runs", "scores", "unions", "updates"]) == TABLES_OF_0_1_0
    assert set(TABLES_OF_0_1_0) <= set(TABLES)


@pytest.mark.parametrize("table", TABLES_OF_0_1_0)
def test_every_column_of_0_1_0_is_there_with_its_type(table):
    columns = TABLES[table].columns
    assert {name: columns.get(name) for name in stored(table)} == stored(table)


@pytest.mark.parametrize("table", TABLES_OF_0_1_0)
def test_columns_added_since_may_be_null_and_are_no_key(table):
    added = [column for column in TABLES[table].fields if column.name not in stored(table)]
    assert all(column.nullable and column.name not in TABLES[table].key for column in added)


@pytest.mark.parametrize("table", TABLES_OF_0_1_0)
def test_a_table_of_0_1_0_reads_as_it_is_declared(table):
    rows = StoreReader(WRITTEN).scan(table).collect()
    assert dict(rows.schema) == dict(TABLES[table].columns)
    assert rows.height > 0
    assert not rows.select(pl.struct(TABLES[table].key).is_duplicated().any()).item()


@pytest.mark.parametrize("name", list(TABLES))
def test_a_key_is_never_null_and_every_column_says_what_it_means(name):
    columns = [column.name for column in TABLES[name].fields]
    assert columns[0] == "run"
    assert set(TABLES[name].key) <= set(columns)
    for column in TABLES[name].fields:
        assert not (column.nullable and column.name in TABLES[name].key)
        assert column.meaning


@pytest.mark.parametrize("name", list(TABLES))
def test_an_empty_frame_has_the_columns_and_types(name):
    empty = TABLES[name].empty()
    assert empty.height == 0
    assert dict(empty.schema) == dict(TABLES[name].columns)
