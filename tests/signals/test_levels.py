import polars.selectors as cs
import pytest

from geodiag.common.schema import FAMILIES
from geodiag.signals import FAMILY_SIGNALS, HEALTH, SIGNALS, TARGETS, family_signals, layer_signals, step_signals

from . import brute
from .conftest import OPTIONS

NAMES = [name for name, _ in OPTIONS]


def compare(row, expected):
    for name, value in expected.items():
        if value is None or isinstance(value, str):
            assert row[name] == value, name
        else:
            assert row[name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


@pytest.fixture(scope="module")
def steps(store):
    return step_signals(store)


@pytest.mark.parametrize("name", NAMES)
def test_steps(runs, steps, name):
    run = runs[name]
    rows = steps.filter(run=name).to_dicts()
    assert [row["step"] for row in rows] == list(range(1, run.steps + 1))
    for t, row in enumerate(rows, start=1):
        compare(row, brute.signals(run, t, run.layers))
        compare(row, brute.outcomes(run, t))
        assert (row["task"], row["n_active"]) == (run.tasks[t - 1], len(run.active(t)))


@pytest.mark.parametrize("name", NAMES)
def test_families(runs, store, name):
    run = runs[name]
    rows = family_signals(store.only([name])).to_dicts()
    families = sorted({layer["family"] for layer in run.layers}, key=FAMILIES.index)
    keys = [(t, family) for t in range(1, run.steps + 1) for family in families]
    assert [(row["step"], row["family"]) for row in rows] == keys
    for row, (t, family) in zip(rows, keys, strict=True):
        compare(row, brute.signals(run, t, [layer for layer in run.layers if layer["family"] == family]))


@pytest.mark.parametrize("name", NAMES)
def test_layers(runs, store, name):
    run = runs[name]
    rows = layer_signals(store.only([name])).to_dicts()
    layers = sorted(run.layers, key=lambda layer: (layer["block"], FAMILIES.index(layer["family"])))
    keys = [(t, layer) for t in range(1, run.steps + 1) for layer in layers]
    assert [(row["step"], row["layer"]) for row in rows] == [(t, layer["layer"]) for t, layer in keys]
    for row, (t, layer) in zip(rows, keys, strict=True):
        compare(row, {**brute.signals(run, t, [layer]), **layer, "task": run.tasks[t - 1]})


def test_every_signal_check_and_outcome_is_a_column(store, steps):
    labels = ["run", "size", "method", "seed", "step", "task"]
    names = [signal.name for signal in FAMILY_SIGNALS]
    checks = [check.name for check in HEALTH]
    targets = [target.name for target in TARGETS]
    assert steps.columns == [
        *labels, "n_active", *names, *checks, *targets, "overall_source", "n_old", "n_old_scored"
    ]  # fmt: skip
    assert {signal.name for signal in SIGNALS} < set(steps.columns)
    assert family_signals(store).columns == [*labels, "family", *names, *checks]
    assert layer_signals(store).columns == [*labels, "layer", "block", "family", *names, *checks]


def test_labels_come_from_the_runs(runs, steps):
    for row in steps.to_dicts():
        (labels,) = runs[row["run"]].rows["runs"]
        assert {name: row[name] for name in ("size", "method", "seed")} == {
            name: labels[name] for name in ("size", "method", "seed")
        }


def test_values_stay_in_their_ranges(steps):
    for signal in (*SIGNALS, *HEALTH, *TARGETS):
        values = steps[signal.name].drop_nulls()
        assert values.is_between(signal.low, signal.high).all(), signal.name


def test_the_first_step_has_no_pair(steps):
    first = steps.filter(step=1)
    pairs = ["active_sar", "active_conflict", "global_active_conflict", "state_gap", "global_gap"]
    assert first.select(pairs).null_count().row(0) == (first.height,) * len(pairs)


def test_nothing_is_nan(steps, store):
    for frame in (steps, family_signals(store), layer_signals(store)):
        for column in frame.select(cs.float()):
            assert column.drop_nulls().is_finite().all(), column.name
