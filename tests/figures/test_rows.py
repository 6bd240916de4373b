"""Figures of rows: curves, clouds and heatmaps hold the numbers of the store, computed here by hand."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from statistics import fmean

import numpy as np
import polars as pl
import pytest

from geodiag import figures
from geodiag.common.schema import FAMILIES
from geodiag.errors import SettingsError
from geodiag.figures.theme import ONE_COLUMN, TWO_COLUMNS
from tests.figures.artists import cell_texts, cell_values, clouds, curves, hatched, x_labels, y_labels
from tests.figures.synthetic import MMLU_PRO

TASKS = [task.replace("_", " ") for task in MMLU_PRO[:5]]


def test_curves_of_a_run_are_its_steps(tables) -> None:
    run = tables("gaps").get("step_signals")["run"][0]
    rows = tables("gaps").get("step_signals").filter(pl.col("run") == run)
    axes = figures.step_dynamics(tables("gaps"), run=run)
    drawn = {name: points for ax in axes for name, points in curves(ax).items()}
    for name, column in [
        ("Active GC", "active_conflict"),
        ("Global gap", "global_gap"),
        ("Retention loss", "retention_loss"),
    ]:
        expected = [np.nan if v is None else v for v in rows[column]]
        np.testing.assert_array_equal(drawn[name][0], rows["step"].to_numpy())
        np.testing.assert_array_equal(drawn[name][1], expected)
    assert np.isnan(drawn["Active GC"][1][0]), "step 1 has no pair, and no point"
    assert x_labels(axes[-1]) == [f"{task}  {k}" for k, task in enumerate(TASKS, start=1)]
    assert [ax.get_ylabel() for ax in axes] == ["Conflict, gap", "Cosine, share", "Frobenius norm", "Score (fraction)"]


def test_strips_without_values_are_left_out(tables) -> None:
    runs = tables("no_scores").get("step_signals")["run"]
    axes = figures.step_dynamics(tables("no_scores"), run=runs[0])
    assert [ax.get_ylabel() for ax in axes] == ["Conflict, gap", "Frobenius norm"]


def test_a_run_must_be_named_where_there_are_several(stores) -> None:
    with pytest.raises(SettingsError, match=r"no run is named; give run=, one of: 0\.6b-ewc, 0\.6b-seq\.sft"):
        figures.step_dynamics(stores("plain"))
    with pytest.raises(SettingsError, match="there is no run 'x'"):
        figures.step_dynamics(stores("plain"), run="x")


def conflicts(store, run: str) -> dict[tuple[str, str], float]:
    """Mean conflict over layers of every two tasks of a run, from the raw rows."""
    rows = store.scan("pairs").filter(pl.col("run") == run, pl.col("kind") == "active").collect()
    found = defaultdict(list)
    for row in rows.iter_rows(named=True):
        if row["conflict"] is not None:
            found[row["object_i"][5:], row["object_j"][5:]].append(row["conflict"])
    return {key: fmean(values) for key, values in found.items()}


@pytest.mark.parametrize("run", ["4b-ewc", None])
def test_conflict_of_tasks(stores, tables, run: str | None) -> None:
    ax = figures.pair_conflict_heatmap(tables("plain"), run=run)
    runs = [run] if run else stores("plain").run_ids()
    each = [conflicts(stores("plain"), name) for name in runs]
    expected = np.full((4, 4), np.nan)
    for i in range(5):
        for j in range(i):
            expected[i - 1, j] = fmean(found[MMLU_PRO[j], MMLU_PRO[i]] for found in each)
    np.testing.assert_allclose(cell_values(ax), expected, rtol=1e-12)
    assert (y_labels(ax), x_labels(ax)) == (TASKS[1:], TASKS[:-1])
    assert hatched(ax) == set()
    assert cell_texts(ax)[0, 0] == f"{expected[0, 0]:.2f}"


def score_changes(store, run: str) -> dict[tuple[str, str], float | None]:
    """a[t, old] - a[t-1, old] for every new task t and old task, from the raw scores."""
    rows = store.scan("scores").filter(pl.col("run") == run).collect()
    score = {(row["step"], row["task"]): row["score"] for row in rows.iter_rows(named=True)}
    found = {}
    for t in range(2, 6):
        for old in MMLU_PRO[: t - 1]:
            both = score.get((t, old)), score.get((t - 1, old))
            found[MMLU_PRO[t - 1], old] = None if None in both else both[0] - both[1]
    return found


def test_change_of_tasks_with_missing_scores(stores, tables) -> None:
    run = "0.6b-ewc"
    ax = figures.pair_change_heatmap(tables("gaps"), run=run)
    expected, empty = np.full((4, 4), np.nan), set()
    for (new, old), change in score_changes(stores("gaps"), run).items():
        at = MMLU_PRO.index(new) - 1, MMLU_PRO.index(old)
        expected[at] = np.nan if change is None else change
        empty |= {at} if change is None else set()
    np.testing.assert_allclose(cell_values(ax), expected, atol=1e-11)
    assert hatched(ax) == empty != set()
    low, high = ax.collections[0].get_clim()
    assert low == -high <= -np.nanmax(np.abs(expected)), "the scale is centred and covers every value"


def test_means_of_families(stores, tables) -> None:
    ax = figures.family_heatmap(tables("plain"), signals=["active_conflict", "update_norm"])
    rows = tables("plain").get("family_signals")
    for k, family in enumerate(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")):
        mine = rows.filter(pl.col("family") == family)
        for j, name in enumerate(("active_conflict", "update_norm")):
            assert cell_texts(ax)[k, j] == f"{fmean(mine[name].drop_nulls()):.2f}"
    places = cell_values(ax)
    assert (np.nanmin(places, axis=0) == 0).all()
    assert (np.nanmax(places, axis=0) == 1).all()


def test_layers_by_block_and_family(stores, tables) -> None:
    axes = figures.depth_profile(tables("plain"), signal="state_gap")
    rows = tables("plain").get("layer_signals")
    assert [ax.get_title()[4:] for ax in axes] == ["0.6B", "4B"]
    for ax, size in zip(axes, ("0.6B", "4B"), strict=True):
        mine = rows.filter(pl.col("size") == size, pl.col("family") == "v_proj", pl.col("block") == 0)
        assert cell_values(ax)[2, 0] == pytest.approx(fmean(mine["state_gap"].drop_nulls()))
    assert y_labels(axes[0]) == ["q", "k", "v", "o", "gate", "up", "down"]
    assert axes[0].collections[0].get_clim() == axes[1].collections[0].get_clim(), "sizes share one scale"
    with pytest.raises(SettingsError, match="no layer signal 'step'; one of: update_norm"):
        figures.depth_profile(tables("plain"), signal="step")


def layer_rows(blocks: dict[str, int]) -> pl.DataFrame:
    """Layers of made-up sizes, conflict rising with the block from 0.31."""
    rows = [
        {"run": size, "size": size, "step": 2, "block": b, "family": f, "active_conflict": 0.31 + 0.5 * b / count}
        for size, count in blocks.items()
        for b in range(count)
        for f in FAMILIES
    ]
    return pl.DataFrame(rows)


@pytest.mark.parametrize(
    ("blocks", "across", "width"),
    [
        ({"1M": 2}, 1, ONE_COLUMN),
        ({f"{k}M": k for k in range(2, 7)}, 5, TWO_COLUMNS),
        ({f"{k}M": 3 for k in range(1, 8)}, 5, TWO_COLUMNS),
        ({"8B": 36}, 1, TWO_COLUMNS),
        ({"4B": 36, "8B": 36}, 1, TWO_COLUMNS),
        ({"1B": 16, "2B": 18}, 2, TWO_COLUMNS),
    ],
)
def test_sizes_share_one_colour_bar_and_stand_side_by_side_where_they_fit(blocks, across, width) -> None:
    axes = figures.depth_profile(layer_rows(blocks))
    canvas = axes[0].figure
    (bar,) = [ax for ax in canvas.axes if ax not in axes]
    values = [float(t.get_text()) for t in bar.get_yticklabels()]
    assert values == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9][: len(values)])
    canvas.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in axes]
    assert len({round(box.y0) for box in boxes}) == -(-len(axes) // across)
    assert np.ptp([box.width for box in boxes]) < 1
    assert canvas.get_size_inches()[0] == width
    titles = [ax.title.get_window_extent() for ax in axes[:across]]
    assert all(one.x1 < other.x0 for one, other in pairwise(titles))


def test_clouds_hold_every_step_that_has_both_values(tables) -> None:
    rows = tables("gaps").get("step_signals").drop_nulls(["global_gap", "forgetting"])
    ax = figures.fig06_signals_and_forgetting(tables("gaps"))[3]
    for method in ("Seq. SFT", "EWC"):
        expected = rows.filter(pl.col("method") == method).select("global_gap", "forgetting").rows()
        assert sorted(map(tuple, clouds(ax)[method].tolist())) == sorted(expected)
    assert figures.caption(ax).n == str(rows.height)


def test_points_at_which_methods_coincide_are_nobodys() -> None:
    """Methods that share experts have the same alignment and conflict, and the last must not hide the others."""
    rows = [("a", "EWC", 0.5, 0.4, 0.1), ("b", "mine", 0.5, 0.4, -0.1), ("a", "EWC", 0.6, 0.3, 0.0)]
    names = ["run", "method", "mean_sar", "mean_conflict", "drop"]
    first, second = figures.fig07_alignment_conflict_change(pl.DataFrame(rows, schema=names, orient="row"))
    found = {name: points.tolist() for name, points in clouds(first).items() if len(points)}
    assert found == {"several methods": [[0.5, 0.4], [0.5, 0.4]], "EWC": [[0.6, 0.3]]}
    assert "coincide" in figures.caption(first).text
    assert {name: len(points) for name, points in clouds(second).items()} == {"EWC": 2, "mine": 1}
    assert "coincide" not in figures.caption(second).text


def test_each_regime_has_axes_of_its_own_over_the_cloud_of_all_pairs(tables) -> None:
    rows = tables("plain").get("pair_signals").drop_nulls(["mean_sar", "mean_conflict", "drop"])
    axes = figures.fig03_alignment_and_harm(tables("plain"))[:3]
    regimes = {"harmed": pl.col("drop") <= -0.01, "helped": pl.col("drop") >= 0.01}
    regimes["unchanged"] = ~regimes["harmed"] & ~regimes["helped"]
    for ax, name in zip(axes, ("harmed", "unchanged", "helped"), strict=True):
        found, mine = clouds(ax), rows.filter(regimes[name])
        assert sorted(found["all pairs"][:, 1]) == sorted(rows["mean_conflict"])
        assert sorted(found[f"old task {name}"][:, 1]) == sorted(mine["mean_conflict"])
        assert ax.get_title().endswith(f"{name} ({100 * mine.height / rows.height:.0f} %)")
        assert ax.get_ylim() == axes[0].get_ylim()


def test_a_grid_has_axes_for_every_method_and_size_and_says_where_no_run_was(tables) -> None:
    rows = tables("plain").get("step_signals").filter((pl.col("method") == "EWC") | (pl.col("size") == "4B"))
    axes = figures.fig11_step_dynamics(rows)
    assert [ax.get_title() for ax in axes] == ["(a) Seq. SFT, 0.6B", "4B", "(b) EWC, 0.6B", "4B"]
    assert [t.get_text() for t in axes[0].texts] == ["no run"]
    assert curves(axes[0]) == {}
    mine = rows.filter(pl.col("method") == "EWC", pl.col("size") == "4B")
    np.testing.assert_array_equal(curves(axes[3])["State gap"][1][1:], mine["state_gap"].drop_nulls().to_numpy())


def test_rows_of_a_grid_are_alike(tables) -> None:
    """One size of axes, one range and the same ticks on both sides."""
    axes = figures.fig11_step_dynamics(tables("plain"))
    canvas = axes[0].figure
    canvas.draw_without_rendering()
    others = [ax for ax in canvas.axes if ax not in axes]
    for kind in (axes, others):
        sizes = np.array([ax.get_window_extent().size for ax in kind])
        assert np.ptp(sizes, axis=0).max() < 1
        assert len({ax.get_ylim() for ax in kind}) == len({tuple(ax.get_yticks()) for ax in kind}) == 1


def test_titles_above_correlations_are_inside_the_figure(tables) -> None:
    axes = figures.fig10_state_dynamics_by_size(tables("plain"))
    canvas = axes[0].figure
    canvas.draw_without_rendering()
    for ax in axes:
        texts = [ax.title, *ax.texts] if ax.texts and ax.lines else [ax.title]
        boxes = [text.get_window_extent() for text in texts]
        assert all(box.y1 <= canvas.bbox.height for box in boxes)
        assert all(box.y0 >= ax.get_window_extent().y1 for box in boxes)
        assert all(box.y1 <= boxes[0].y0 + 1 for box in boxes[1:]), "correlations stand below the title"


def test_correlations_above_curves_are_those_of_the_table(tables) -> None:
    ax = figures.fig10_state_dynamics_by_size(tables("plain"))[0]
    own = tables("plain").get("fig10_seq_sft_retention_loss_correlations").filter(pl.col("size") == "0.6B")
    said = [t.get_text() for t in ax.texts]
    assert said == [
        f"{name} {own[column][0]:.2f}".replace("-", "−")
        for name, column in (("Global gap", "global_gap"), ("State gap", "state_gap"), ("Active GC", "active_conflict"))
    ]
