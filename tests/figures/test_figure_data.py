"""Rows that figures draw, computed here by hand; every panel gives its rows, and each picture has a file of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.stats
from matplotlib.collections import PathCollection

from geodiag import figures
from geodiag.figures import caption, draw_all, drawn_rows
from geodiag.stats import Design
from geodiag.tables.layers import (
    block_means,
    family_means,
    labelled_values,
    pair_regimes,
    scaled_within_runs,
    task_means,
)
from tests.figures.artists import bar_heights, cell_values, clouds, curves
from tests.figures.conftest import QUICK


def test_percentiles_and_regimes_of_pairs() -> None:
    sar, drop = [0.3, 0.1, 0.3, 0.9], [-0.01, 0.0, 0.0101, -0.2]
    found = pair_regimes(pl.DataFrame({"mean_sar": sar, "drop": drop}))
    expected = [scipy.stats.percentileofscore(sar, value, kind="mean") for value in sar]
    assert found["percentile"].to_list() == pytest.approx(expected)
    assert found["regime"].to_list() == ["harmed", "unchanged", "helped", "harmed"]


def test_scaling_is_within_runs_and_leaves_constants_out() -> None:
    frame = pl.DataFrame({"run": list("aabb"), "x": [1.0, 3.0, 10.0, 30.0], "y": [2.0, 2.0, 0.0, None]})
    found = scaled_within_runs(frame, ["x", "y"])
    assert found["x"].to_list() == [0, 1, 0, 1]
    assert found["y"].to_list() == [None] * 4


PAIRS = pl.DataFrame(
    [("a", "x", "y", 0.1), ("a", "y", "x", 0.5), ("b", "x", "y", None), ("b", "z", "x", None)],
    schema=["run", "new_task", "old_task", "value"],
    orient="row",
)


def test_means_of_tasks_skip_what_is_undefined_and_count_the_rest() -> None:
    found = {(new, old): rest for new, old, *rest in task_means(PAIRS, "value").rows()}
    assert found == {("x", "y"): [0.1, 1], ("y", "x"): [0.5, 1], ("z", "x"): [None, 0]}


def test_means_of_a_value_without_direction_join_both_orders() -> None:
    found = {(new, old): rest for new, old, *rest in task_means(PAIRS, "value", tasks=["x", "y", "z"]).rows()}
    assert found == {("y", "x"): [pytest.approx(0.3), 2], ("z", "x"): [None, 0]}


def test_means_of_families_and_blocks() -> None:
    rows = pl.DataFrame(
        [("s", 0, "up_proj", 1.0), ("s", 0, "up_proj", 3.0), ("s", 1, "q_proj", 5.0), ("t", 0, "mine", None)],
        schema=["size", "block", "family", "x"],
        orient="row",
    )
    assert family_means(rows, ["x"]).rows() == [("q_proj", "x", 5.0), ("up_proj", "x", 2.0), ("mine", "x", None)]
    expected = [("s", 0, "up_proj", 2.0), ("s", 1, "q_proj", 5.0), ("t", 0, "mine", None)]
    assert block_means(rows, "x").rows() == expected


def test_values_stand_behind_the_columns_that_name_their_row() -> None:
    assert labelled_values(PAIRS, ["value"]).columns == ["run", "new_task", "old_task", "value"]


def test_points_curves_and_cells_are_rows_that_a_person_gets(tables) -> None:
    first, *_ = figures.fig06_signals_and_forgetting(tables("gaps"))
    points = np.concatenate(list(clouds(first).values()))
    assert sorted(map(tuple, points.tolist())) == sorted(drawn_rows(first).select("update_norm", "forgetting").rows())
    curve = figures.fig01_state_dynamics(tables("plain"))[0]
    for name, column in (("Global gap", "global_gap"), ("State gap", "state_gap")):
        expected = drawn_rows(curve)[column].to_list()
        np.testing.assert_array_equal(curves(curve)[name][1], [np.nan if x is None else x for x in expected])
    means = drawn_rows(figures.pair_change_heatmap(tables("plain")))
    cells = cell_values(figures.pair_change_heatmap(tables("plain")))
    assert sorted(cells[~np.isnan(cells)]) == sorted(means["drop"].drop_nulls())
    layers = figures.depth_profile(tables("plain"))
    assert sorted(cell_values(layers[0]).ravel()) == sorted(drawn_rows(layers[0])["active_conflict"])


def test_regimes_are_the_rows_of_their_panel(tables) -> None:
    axes = figures.fig03_alignment_and_harm(tables("plain"))[:3]
    for ax, regime in zip(axes, ("harmed", "unchanged", "helped"), strict=True):
        rows = drawn_rows(ax)
        assert set(rows["regime"]) <= {regime}
        expected = rows.select("percentile", "mean_conflict").rows()
        assert sorted(map(tuple, clouds(ax)[f"old task {regime}"].tolist())) == sorted(expected)


def test_bars_are_the_rows_of_their_panel(tables) -> None:
    for ax in figures.fig17_family_profile(tables("plain")):
        assert set(bar_heights(ax)) <= set(drawn_rows(ax).select(pl.col(pl.Float64)).to_numpy().ravel())


def test_source_rows_stand_beside_each_picture(stores, tmp_path: Path) -> None:
    names = ["fig03", "depth_profile", "step_dynamics"]
    drawing = draw_all(stores("plain"), tmp_path, only=names, runs=["4b-ewc"], options=QUICK)
    said = {one["figure"]: one for one in json.loads((tmp_path / "figures.json").read_text())["figures"]}
    for one in drawing:
        assert one.source == said[one.figure]["source"] == f"{Path(one.file).stem}.csv"
        rows = pl.read_csv(tmp_path / one.source, infer_schema_length=None)
        assert rows.columns[0] == "panel"
        assert rows["panel"].unique().sort().to_list() == list(range(1, len(one.panels) + 1))
    steps = pl.read_csv(tmp_path / "step_dynamics-4b-ewc.csv", infer_schema_length=None)
    own = stores("plain")
    expected = figures.store_tables(own).get("step_signals").filter(pl.col("run") == "4b-ewc")["state_gap"]
    found = steps.filter(pl.col("panel") == 1)["state_gap"]
    np.testing.assert_allclose(found.fill_null(np.nan), expected.fill_null(np.nan), rtol=1e-8)


def test_a_scatter_takes_rows_without_their_design(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Design:
        raise AssertionError("a scatter needs no design")

    monkeypatch.setattr(Design, "from_labels", refuse)
    axes = [
        *figures.fig06_signals_and_forgetting(stores("plain")),
        *figures.fig07_alignment_conflict_change(stores("plain")),
    ]
    assert all(any(isinstance(c, PathCollection) for c in ax.collections) for ax in axes)


def test_rows_are_made_once_for_all_panels(stores, monkeypatch: pytest.MonkeyPatch) -> None:
    from geodiag.tables import inputs

    calls: dict[str, int] = defaultdict(int)
    for name in ("step_signals", "pair_signals", "layer_signals"):
        made = getattr(inputs, name)
        monkeypatch.setattr(inputs, name, lambda store, n=name, f=made: calls.update({n: calls[n] + 1}) or f(store))
    tables = figures.store_tables(stores("plain"), QUICK)
    for draw in (figures.fig06_signals_and_forgetting, figures.fig11_step_dynamics, figures.depth_profile):
        draw(tables)
    figures.fig07_alignment_conflict_change(tables)
    assert calls == {"step_signals": 1, "pair_signals": 1, "layer_signals": 1}


def test_a_figure_is_one_decorated_function(stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws from a store, a frame and the command, in the style of the package, and is written with its rows."""
    from geodiag.figures import registry
    from geodiag.figures.axes import one_axes
    from geodiag.figures.captions import describe

    monkeypatch.setattr(registry, "FIGURES", [])

    @registry.figure("Toy", tables=("step_signals",), needs="steps")
    def toy(data, *, ax=None):
        """A toy."""
        frame, ax = data.get("step_signals"), one_axes(ax, (2, 2))
        ax.plot(frame["step"], frame["update_norm"], ".")
        describe(ax, "A toy", table="step_signals", frame=labelled_values(frame, ["update_norm"]))
        return ax

    assert [entry.name for entry in registry.select_figures("toy")] == ["toy"]
    (one,) = draw_all(stores("plain"), tmp_path, only=["toy"])
    assert (one.file, one.source, one.title) == ("toy.png", "toy.csv", "Toy")
    frame = figures.store_tables(stores("plain")).get("step_signals")
    assert caption(toy(data=frame)).rows == frame.height


def final(rows: list[tuple], first: str) -> pl.DataFrame:
    outcomes = {first: pl.Float64, "old_mean": pl.Float64, "forgetting": pl.Float64}
    return pl.DataFrame(
        rows, schema={"run": pl.String, "size": pl.String, "method": pl.String, **outcomes}, orient="row"
    )


def test_single_runs_stand_behind_the_means_of_their_method() -> None:
    rows = [("a", "1B", "EWC", 0.5, 0.4, -0.1), ("b", "1B", "EWC", 0.7, None, -0.3), ("c", "2B", "mine", 0.2, 0.1, 0.0)]
    runs = final(rows, "final_overall")
    means = runs.group_by("size", "method", maintain_order=True).agg(pl.col(pl.Float64).mean())
    tables = {"table21_final_performance": means.rename({"final_overall": "overall"}), "run_outcomes": runs}
    overall, old, _ = figures.fig19_final_performance(tables)
    assert {name: list(y) for name, (_, y) in curves(overall).items()} == {"EWC": [0.6], "mine": [0.2]}
    points = [tuple(at) for c in overall.collections for at in c.get_offsets().tolist()]
    assert sorted(points) == [(pytest.approx(-0.2), 0.5), (pytest.approx(-0.2), 0.7), (pytest.approx(1.2), 0.2)]
    assert {name: float(x[0]) for name, (x, _) in curves(overall).items()} == pytest.approx({"EWC": -0.2, "mine": 1.2})
    assert len([at for c in old.collections for at in c.get_offsets()]) == 2, "a run without the outcome has no point"
    assert "faint points: single runs" in caption(overall).text
    assert drawn_rows(overall)["run"].to_list() == [None, None, "a", "b", "c"]


def test_means_of_one_run_each_stand_alone(tables) -> None:
    for ax in figures.fig19_final_performance(tables("plain")):
        assert not ax.collections
        assert "single runs" not in caption(ax).text


def test_the_distribution_of_changes_is_that_of_the_rows(tables) -> None:
    ax = figures.pair_change_distribution(tables("gaps"))
    rows = tables("gaps").get("pair_signals").drop_nulls("drop")
    assert sorted(drawn_rows(ax)["drop"]) == sorted(rows["drop"])
    assert caption(ax).n == str(rows.height)
    lines = [float(line.get_xdata()[0]) for line in ax.lines if len(set(line.get_xdata())) == 1]
    for method in ("Seq. SFT", "EWC"):
        median = np.median(rows.filter(pl.col("method") == method)["drop"])
        assert min(abs(x - median) for x in lines) < 1e-12
    assert [text.get_text() for text in ax.get_yticklabels()] == ["Seq. SFT", "EWC"]
