"""The demonstration: training of two small runs, their extraction, tables, figures and a summary."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from geodiag.api import Store
from geodiag.console import Output

if TYPE_CHECKING:
    from collections.abc import Callable


def run_demo(out: Path, output: Output) -> None:
    """Train two small runs, extract, analyse and draw them, and report the results with their paths.

    Runs and rows that exist already are kept, so that a second call only analyses and draws again.

    Args:
        out: the folder to write into.
        output: receives every line of the report.

    Raises:
        GeodiagError: the folder holds something else, or cannot be written.
    """
    start = time.monotonic()

    def report(part: str) -> Callable[[str], None]:
        return lambda text: output.print(f"[{time.monotonic() - start:4.0f} s] {part}: {text}")

    runs = _train(out, report("train"))
    store = _extract(runs, out / "store", output, report("extract"))
    _write(store, out, report("analyse"), report("draw"))
    output.print("")
    for line in _summary(store):
        output.print(line)
    output.print("")
    for name, path in (
        ("runs", runs),
        ("store", store.path),
        ("tables", out / "tables"),
        ("figures", out / "figures"),
    ):
        output.print(f"{name:8} {path}")
    output.print(f"\nNext: geodiag explain {store.path} --run {store.run_ids()[0]} --step {_worst_step(store)}")


def _train(out: Path, report: Callable[[str], None]) -> Path:
    from geodiag.lab.sweep import make_demo_runs

    report("a small Qwen3 learns eight text tasks, then is fine-tuned on one after another")
    return make_demo_runs(out / "training", progress=report)


def _extract(runs: Path, store: Path, output: Output, report: Callable[[str], None]) -> Store:
    from geodiag.jobs import Work, extract_all

    with output.progress() as progress:
        batch = extract_all(runs, Work(store=store, device="cpu", strict=True), progress=progress)
    for outcome in batch.outcomes:
        report(f"{outcome.run}: {outcome.detail}")
    return Store(store)


def _write(store: Store, out: Path, analysed: Callable[[str], None], drew: Callable[[str], None]) -> None:
    from geodiag.figures import draw_all
    from geodiag.tables import Options, write_tables

    analysed(f"{len(write_tables(store, out / 'tables', Options()))} files")
    for line in draw_all(store, out / "figures").lines():
        drew(line)


def _summary(store: Store) -> list[str]:
    """The main results, one sentence a line."""
    steps, ends = store.steps(), store.outcomes()
    lines = [f"{len(ends)} runs, {len(steps)} steps, {steps['active_conflict'].count()} with a pair to compare."]
    for row in ends.iter_rows(named=True):
        lines.append(
            f"{row['run']}: trained tasks ended at {row['old_mean']:.2f} on average,"
            f" {-row['forgetting']:.2f} below their best."
        )
    worst = steps.filter(pl.col("worst_drop") == pl.col("worst_drop").min()).row(0, named=True)
    lines.append(
        f"The worst single loss: {-worst['worst_drop']:.2f} of one task's score,"
        f" when {worst['run']} learned {worst['task']} (step {worst['step']})."
    )
    return lines + _correlation_lines(steps)


def _correlation_lines(steps: pl.DataFrame) -> list[str]:
    """Spearman's correlations of the main signals and of the step index with retention loss."""
    from geodiag.tables import Options
    from geodiag.tables.inputs import SignalRows

    labels = {"global_gap": "global gap", "state_norm": "state norm", "step": "the bare step index"}
    complete, options = steps.drop_nulls(["retention_loss", "global_gap"]), Options()
    rows = SignalRows.of(complete, options, place=("step",))
    grid = rows.correlate(tuple(labels), ("retention_loss",), settings=options.estimates)
    estimates = {label: grid.cell(name, "retention_loss").estimate for name, label in labels.items()}
    rho = ", ".join(f"{label} {'–' if value is None else f'{value:+.2f}'}" for label, value in estimates.items())
    return [
        f"Spearman with retention loss over {len(complete)} steps: {rho}.",
        "global gap is state gap times 2/(t+1), so it carries the step index; two runs allow no interval.",
    ]


def _worst_step(store: Store) -> int:
    first = store.only(store.run_ids()[:1])
    steps = first.steps().sort("worst_drop", nulls_last=True)
    return int(steps["step"][0])
