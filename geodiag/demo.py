"""The demonstration: a small model really trained in sequence, then the whole path over what it left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from geodiag.api import Store
from geodiag.console import Voice

if TYPE_CHECKING:
    from collections.abc import Callable


def run_demo(out: Path, voice: Voice) -> None:
    """Trains two small runs, extracts, analyses and draws them, and says what was found and where it lies.

    What is there already is kept, so a second call only draws again.

    Args:
        out: the folder to write into.
        voice: told of everything.

    Raises:
        GeodiagError: the folder holds something else, or cannot be written.
    """
    start = time.monotonic()

    def told(part: str) -> Callable[[str], None]:
        return lambda text: voice.say(f"[{time.monotonic() - start:4.0f} s] {part}: {text}")

    runs = _train(out, told("train"))
    store = _extract(runs, out / "store", voice, told("extract"))
    _write(store, out, told("analyse"), told("draw"))
    voice.say("")
    for line in _findings(store):
        voice.say(line)
    voice.say("")
    for what, path in (
        ("runs", runs),
        ("store", store.path),
        ("tables", out / "tables"),
        ("figures", out / "figures"),
    ):
        voice.say(f"{what:8} {path}")
    voice.say(f"\nNext: geodiag explain {store.path} --run {store.run_ids()[0]} --step {_worst_step(store)}")


def _train(out: Path, tell: Callable[[str], None]) -> Path:
    from geodiag.lab.sweep import make_demo_runs

    tell("a small Qwen3 learns eight text tasks, then is fine-tuned on one after another")
    return make_demo_runs(out / "training", progress=tell)


def _extract(runs: Path, store: Path, voice: Voice, tell: Callable[[str], None]) -> Store:
    from geodiag.jobs import Work, extract_all

    with voice.progress() as progress:
        report = extract_all(runs, Work(store=store, device="cpu", strict=True), progress=progress)
    for outcome in report.outcomes:
        tell(f"{outcome.run}: {outcome.detail}")
    return Store(store)


def _write(store: Store, out: Path, analysed: Callable[[str], None], drew: Callable[[str], None]) -> None:
    from geodiag.figures import draw_all
    from geodiag.tables import Options, write_tables

    analysed(f"{len(write_tables(store, out / 'tables', Options()))} files")
    for line in draw_all(store, out / "figures").lines():
        drew(line)


def _findings(store: Store) -> list[str]:
    """What a reader should take from the demonstration, from its own numbers."""
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
    lines += _rank_line(steps)
    return lines


def _rank_line(steps: pl.DataFrame) -> list[str]:
    """How the headline signals and the bare step index rank retention loss here: too few runs for more."""
    labels = {"global_gap": "global gap", "state_norm": "state norm", "step": "the bare step index"}
    known = steps.drop_nulls(["retention_loss", "global_gap"])
    rho = known.select(pl.corr(name, "retention_loss", method="spearman").alias(name) for name in labels).row(0)
    told = ", ".join(f"{label} {value:+.2f}" for label, value in zip(labels.values(), rho, strict=True))
    return [
        f"Spearman with retention loss over {len(known)} steps: {told}.",
        "global gap is state gap times 2/(t+1), so it carries the step index; two runs allow no interval.",
    ]


def _worst_step(store: Store) -> int:
    first = store.only(store.run_ids()[:1])
    steps = first.steps().sort("worst_drop", nulls_last=True)
    return int(steps["step"][0])
