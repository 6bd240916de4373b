"""Correlations of a store stand with their intervals, cell by cell and whisker by whisker; published ones without."""

from __future__ import annotations

import polars as pl
import pytest

from geodiag import figures
from geodiag.figures import caption, paper_tables, store_tables
from geodiag.tables import Options
from tests.figures.artists import bar_heights, bar_whiskers, cell_texts, estimates, whiskers, x_labels, y_labels
from tests.figures.synthetic import MMLU_PRO, Shape, write_store

SIGNALS = {
    **{"Update norm": "update_norm", "Active GC": "active_conflict", "State gap": "state_gap"},
    **{"Global gap": "global_gap", "Neg-grad ratio": "neg_grad_ratio", "Min grad cos": "min_grad_cos"},
    "Step index": "step",
}
TARGETS = {"Old-task mean": "old_mean", "Worst drop": "worst_drop", "Forgetting": "forgetting", "Overall": "overall"}
RELATIONS = {
    "SAR vs GC": ("mean_sar", "mean_conflict"),
    "SAR vs old-task change": ("mean_sar", "drop"),
    "GC vs old-task change": ("mean_conflict", "drop"),
    "GC vs forgetting": ("mean_conflict", "forgetting"),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Four sizes under two methods, so that each method has an interval and no size has; Seq. SFT once a size."""
    shape = Shape(sizes=["1B", "2B", "3B", "4B"], tasks=MMLU_PRO[:4], blocks=1)
    return store_tables(write_store(tmp_path_factory.mktemp("many") / "store", shape), Options(resamples=60))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One run."""
    shape = Shape(sizes=["1B"], methods=["EWC"], tasks=MMLU_PRO[:6], blocks=1)
    return store_tables(write_store(tmp_path_factory.mktemp("alone") / "store", shape), Options(resamples=60))


def said(tables, level: str, by: str, group: str, predictor: str, target: str) -> str:
    """What a cell must hold, from the table."""
    key = {"level": level, "by": by, "group": group, "predictor": predictor, "target": target}
    where = pl.all_horizontal(pl.col(name) == value for name, value in key.items())
    row = tables.get("intervals").row(by_predicate=where, named=True)
    texts = {
        name: f"{row[name]:.2f}".replace("-", "−")
        for name in ("spearman", "ci_low", "ci_high")
        if row[name] is not None
    }
    texts = {name: text.removeprefix("−") if text == "−0.00" else text for name, text in texts.items()}
    if row["ci_low"] is None:
        return texts["spearman"]
    return f"{texts['spearman']}\n[{texts['ci_low']}, {texts['ci_high']}]"


def test_signals_by_method(many) -> None:
    ax = figures.fig02_global_and_method(many)[1]
    assert x_labels(ax) == list(SIGNALS), "the step index stands last"
    found = cell_texts(ax)
    for k, method in enumerate(y_labels(ax)):
        for j, name in enumerate(x_labels(ax)):
            assert found[k, j] == said(many, "step", "method", method, SIGNALS[name], "forgetting")
    assert all("\n[" in text for text in found.values())
    assert "Second lines: 95 % intervals" in caption(ax).text


@pytest.mark.parametrize(("panel", "by"), [(0, "size"), (1, "method")])
def test_pairs(many, panel: int, by: str) -> None:
    ax = figures.fig09_pair_correlations(many)[panel]
    found = cell_texts(ax)
    for k, group in enumerate(y_labels(ax)):
        for j, name in enumerate(x_labels(ax)):
            assert found[k, j] == said(many, "pair", by, group, *RELATIONS[name])
    reason = "Second lines" if by == "method" else "No intervals: 2 runs, at least 4 are needed"
    assert reason in caption(ax).text


def test_outcomes_of_each_method_and_of_all_runs(many) -> None:
    axes = figures.fig12_outcomes_by_method(many)
    signals = y_labels(axes[0])
    assert signals[-1] == "Step index"
    for ax in (*axes, figures.fig13_outcomes(many)[0]):
        found, group = cell_texts(ax), ax.get_title()[4:] if ax in axes else "all"
        for k, signal in enumerate(signals):
            for j, name in enumerate(x_labels(ax)):
                by = "all" if group == "all" else "method"
                assert found[k, j] == said(many, "step", by, group, SIGNALS[signal], TARGETS[name])


def test_retention_loss_and_forgetting_are_told_apart(many) -> None:
    own, by_method = (
        ax for ax in figures.fig10_state_dynamics_by_size(many) if ax.get_title().startswith(("(b)", "(c)"))
    )
    bars = [ax.get_ylabel() for ax in own.figure.axes if ax.get_ylabel().startswith("Spearman")]
    assert bars == ["Spearman ρ\nwith retention loss", "Spearman ρ\nwith forgetting"]
    assert "with retention loss" in own.get_title()
    assert "with forgetting" in by_method.get_title()
    assert "No intervals: 1 run, at least 4 are needed" in caption(own).text
    assert cell_texts(own)[0, 1] == said(many, "step", "seq_sft_size", "1B", "state_gap", "retention_loss")
    assert cell_texts(by_method)[0, 1] == said(many, "step", "method", "Seq. SFT", "state_gap", "forgetting")


@pytest.mark.parametrize("name", ["GC vs old-task change", "GC vs forgetting"])
def test_bars_of_pairs_have_whiskers(many, name: str) -> None:
    (ax,) = [ax for ax in figures.fig03_alignment_and_harm(many) if ax.get_title().endswith(name)]
    table = many.get("intervals").filter(pl.col("level") == "pair")
    predictor, target = RELATIONS[name]
    rows = table.filter(pl.col("predictor") == predictor, pl.col("target") == target)
    ordered = pl.concat([rows.filter(pl.col("by") == by) for by in ("method", "size")])
    assert bar_heights(ax) == pytest.approx(ordered["spearman"].to_list())
    assert bar_whiskers(ax) == ordered.drop_nulls("ci_low").select("ci_low", "ci_high").rows()
    assert "Whiskers" in caption(ax).text
    assert "where there is none, runs are too few" in caption(ax).text


def test_the_step_index_stands_beside_the_signals_of_each_method(many) -> None:
    ax = figures.fig08_step_correlations(many)[1]
    rows = many.get("intervals").filter(
        pl.col("level") == "step",
        pl.col("by") == "method",
        pl.col("target") == "forgetting",
        pl.col("predictor") == "step",
    )
    drawn = set(estimates(ax)), {(low, high) for low, high, _ in whiskers(ax)}
    assert set(rows["spearman"]) <= {value for value, _ in drawn[0]}
    assert set(rows.select("ci_low", "ci_high").rows()) <= drawn[1]
    assert ax.get_legend().get_texts()[-1].get_text() == "Step index"


PUBLISHED = ["fig02_global_and_method", "fig09_pair_correlations", "fig12_outcomes_by_method", "fig13_outcomes"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_correlations_stand_without_and_the_caption_says_so(name: str) -> None:
    for ax in getattr(figures, name)(paper_tables())[-2:]:
        if cell_texts(ax):
            assert not any("[" in text for text in cell_texts(ax).values())
            assert "This table has no intervals" in caption(ax).text


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_single_run_has_none_and_the_caption_says_why(alone, name: str) -> None:
    for ax in getattr(figures, name)(alone)[-2:]:
        if cell_texts(ax):
            assert not any("[" in text for text in cell_texts(ax).values())
            assert "No intervals: 1 run, at least 4 are needed" in caption(ax).text


def test_a_frame_given_alone_is_drawn_as_it_is(many) -> None:
    frame = many.get("table13_pairwise_by_method")
    (ax,) = figures.fig09_pair_correlations({"table13_pairwise_by_method": frame})
    assert not any("[" in text for text in cell_texts(ax).values())
    assert "This table has no intervals" in caption(ax).text


@pytest.mark.parametrize("name", [*PUBLISHED, "fig01_state_dynamics", "fig10_state_dynamics_by_size"])
def test_intervals_fit_into_their_cells(many, name: str) -> None:
    axes = getattr(figures, name)(many)
    canvas = axes[0].figure
    canvas.draw_without_rendering()
    for ax in axes:
        for text in [t for t in ax.texts if t.get_text().startswith("[")]:
            column, row = (int(x) for x in text.get_position())
            (left, bottom), (right, top) = ax.transData.transform([(column, row + 1), (column + 1, row)])
            box = text.get_window_extent()
            assert left <= box.x0
            assert box.x1 <= right
            assert bottom <= box.y0
            assert box.y1 <= top
