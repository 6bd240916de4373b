"""A packed store says the same, in less space."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from geodiag.errors import StoreError
from geodiag.extraction.measurements.geometry.settings import make_settings
from geodiag.signals import step_signals
from geodiag.store import StoreReader, pack_store
from tests import synthetic
from tests.jobs.extracting import extract_all


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    synthetic.write_run(folder / "runs" / "a", run="a", steps=5)
    synthetic.write_run(folder / "runs" / "7", run="7", steps=3, seed=1)
    extract_all(folder / "runs", folder / "store", make_settings(rank=4), device="cpu", strict=True)
    whole = StoreReader(folder / "store")
    return whole, StoreReader(pack_store(whole, folder / "packed"))


def size(store):
    return sum(file.stat().st_size for file in store.path.glob("pairs/*/*.parquet"))


def test_it_is_smaller(stores):
    whole, packed = stores
    assert size(packed) < 0.7 * size(whole)


@pytest.mark.parametrize("table", ["updates", "pairs", "scores", "unions", "active", "layers", "runs"])
def test_rows_are_the_same_to_single_precision(stores, table):
    before, after = (store.scan(table).collect() for store in stores)
    assert before.schema == after.schema
    floats = [c for c, dtype in before.schema.items() if dtype == pl.Float64]
    assert before.drop(floats, "singular_values", strict=False).equals(
        after.drop(floats, "singular_values", strict=False)
    )
    for column in floats:
        np.testing.assert_allclose(after[column], before[column], rtol=2.0**-24 if table != "scores" else 0)


def test_signals_are_the_same(stores):
    before, after = (step_signals(store).sort("run", "step") for store in stores)
    for column in ("state_gap", "global_gap", "update_norm", "active_sar"):
        np.testing.assert_allclose(
            after[column].to_numpy(), before[column].to_numpy(), rtol=1e-5, atol=1e-7, equal_nan=True
        )
    assert before["forgetting"].equals(after["forgetting"])


def test_a_store_is_not_packed_over(stores):
    with pytest.raises(StoreError, match="the store has runs already"):
        pack_store(stores[0], stores[1].path)
