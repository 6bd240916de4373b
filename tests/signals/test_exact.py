import random
from math import fsum

import polars as pl
import pytest

from geodiag.signals.outcomes import as_decimal, exact_mean, ordered_sum


@pytest.fixture
def shuffles():
    rng = random.Random(4)
    values = [rng.uniform(-1, 1) for _ in range(5000)] + [None] * 50
    return [rng.sample(values, len(values)) for _ in range(8)]


def one(frame):
    return frame.collect().to_series(0).item()


def test_a_mean_does_not_depend_on_the_order(shuffles):
    frames = [pl.LazyFrame({"x": values}) for values in shuffles]
    assert len({one(frame.select(exact_mean(pl.col("x")))) for frame in frames}) == 1
    expected = fsum(value for value in shuffles[0] if value is not None) / 5000
    assert one(frames[0].select(exact_mean(pl.col("x")))) == pytest.approx(expected, abs=1e-17)


def test_a_sum_of_any_size_does_not_depend_on_the_order(shuffles):
    scaled = [[None if v is None else abs(v) ** 40 * 1e12 for v in values] for values in shuffles]
    found = {one(pl.LazyFrame({"x": values}).select(ordered_sum(pl.col("x")))) for values in scaled}
    assert len(found) == 1
    assert found.pop() == pytest.approx(fsum(value for value in scaled[0] if value is not None), rel=1e-13)


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_has_no_mean_and_no_sum(values):
    frame = pl.LazyFrame({"x": values}, schema={"x": pl.Float64})
    assert one(frame.select(exact_mean(pl.col("x")))) is None
    assert one(frame.select(ordered_sum(pl.col("x")))) is None


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.5, 1 / 3])
def test_a_mean_of_one_value_is_that_value(value):
    assert one(pl.LazyFrame({"x": [value]}).select(exact_mean(pl.col("x")))) == pytest.approx(value, abs=1e-18)


def test_a_decimal_has_no_negative_zero():
    rounded = pl.select(as_decimal(pl.lit(-1e-17))).item()
    assert str(rounded) == "0.0"
