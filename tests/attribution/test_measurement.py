"""The measurement of a run: tasks of every step, rows in the store, restart, growth and dry run."""

from __future__ import annotations

import pytest

from geodiag.extraction.measurements.attribution import AttributionOptions
from geodiag.jobs import Silent, Work, extract_all, plan_all
from geodiag.store import StoreReader
from tests.attribution.runs import PROBES, write_run
from tests.extraction.gradient_runs import write_manifest


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of two steps, and the store with its rows."""
    folder = tmp_path_factory.mktemp("attribution")
    write_run(folder / "run", steps=2)
    work = Work(store=folder / "store", measured=("geometry", "attribution"), device="cpu", strict=True)
    return folder, extract_all(folder / "run", work).outcomes[0]


def table(store):
    return StoreReader(store).scan("attribution").collect().sort("step", "task", "group")


def test_old_new_and_untrained_tasks_have_rows_that_sum_to_their_loss_change(runs):
    folder, outcome = runs
    assert outcome.detail == "extracted 7 layers, allocation of 5 loss changes"
    frame = table(folder / "store")
    pairs = frame.select("step", "task").unique().sort("step", "task").rows()
    assert pairs == [(1, "alpha"), (1, "skill"), (2, "alpha"), (2, "beta"), (2, "skill")]
    assert frame["converged"].all()
    for _, rows in frame.group_by("step", "task"):
        assert rows["squared_share"].sum() == pytest.approx(1)
        assert len(rows) == 10  # 7 matrices, embedding, lm_head, norm
    assert frame.filter(task="skill")["shared"].null_count() == 20
    matrices = frame.filter(task="alpha").drop_nulls("block")
    assert matrices["shared"].null_count() == 0
    own = frame.filter(step=1, task="alpha").drop_nulls("block")  # the update is the step itself, but for its tail
    assert (own["step_overlap"] > 0.9).all()
    assert frame["allocation_examples"].list.len().unique().to_list() == [4]
    means = frame["allocation_examples"].list.mean()
    assert means.to_list() == pytest.approx(frame["allocation"].to_list(), abs=1e-6)


def test_killed_it_goes_on_and_gives_the_same_bits(runs, tmp_path):
    class Stops(Silent):
        parts = 0

        def part_done(self, run, part):
            self.parts += 1
            if self.parts == 7 + 3:
                raise KeyboardInterrupt

    folder, _ = runs
    work = Work(store=tmp_path / "s", measured=("geometry", "attribution"), device="cpu", strict=True)
    with pytest.raises(KeyboardInterrupt):
        extract_all(folder / "run", work, progress=Stops())
    assert not StoreReader(tmp_path / "s").has("attribution")
    extract_all(folder / "run", work)
    assert table(tmp_path / "s").equals(table(folder / "store"))


def test_a_run_that_gains_a_step_computes_that_step_alone(runs, tmp_path):
    class Counts(Silent):
        parts = ()

        def part_done(self, run, part):
            self.parts = (*self.parts, part)

    folder, _ = runs
    write_run(tmp_path / "run", steps=2)
    write_manifest(tmp_path / "run", steps=1)
    work = Work(store=tmp_path / "s", measured=("geometry", "attribution"), device="cpu", strict=True)
    extract_all(tmp_path / "run", work)
    write_manifest(tmp_path / "run", steps=2)
    counts = Counts()
    extract_all(tmp_path / "run", work, progress=counts)
    assert [part for part in counts.parts if part.startswith("step")] == [
        "step-0002 alpha",
        "step-0002 beta",
        "step-0002 skill",
    ]
    before, after = table(folder / "store"), table(tmp_path / "s")
    first = after.filter(step=1, task="beta")  # beta was a task that the run did not train
    assert len(first) == 10
    assert after.join(first, on=["step", "task"], how="anti").sort("step", "task", "group").equals(before)


def test_the_dry_run_counts_passes(runs, tmp_path):
    folder, _ = runs
    lines = list(
        plan_all(folder / "run", Work(store=tmp_path / "s", measured=("geometry", "attribution")), timed=False)
    )
    assert any("5 loss changes at 2 steps" in line for line in lines)
    assert any("made 9 times at least (3 points of the path), 27 at most (9)" in line for line in lines)
    assert len(PROBES) == 12


def test_bfloat16_gives_about_the_same_and_its_floor_counts_as_exact(runs, tmp_path):
    folder, _ = runs
    options = {"attribution": AttributionOptions(precision="bfloat16")}
    work = Work(store=tmp_path / "s", measured=("geometry", "attribution"), settings=options, device="cpu", strict=True)
    extract_all(folder / "run", work)
    wide, narrow = table(folder / "store"), table(tmp_path / "s")
    assert narrow.select("step", "task", "group").equals(wide.select("step", "task", "group"))
    # 8 bits in gradients and activations; the change itself is not rounded.
    assert narrow["allocation"].to_list() == pytest.approx(wide["allocation"].to_list(), abs=0.02)
    assert narrow["squared_share"].to_list() == pytest.approx(wide["squared_share"].to_list(), rel=1e-6)
