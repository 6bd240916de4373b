"""One run, step by step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes

from geodiag.figures.captions import describe
from geodiag.figures.data import Data, NothingToDraw, as_tables, need
from geodiag.figures.layout import finish, grid_lines, many_axes, zero_line
from geodiag.figures.lines import draw_lines, has_values, one_run, step_axis
from geodiag.figures.theme import ONE_COLUMN, TWO_COLUMNS, themed


@dataclass(frozen=True)
class Strip:
    """Signals of one unit that share axes."""

    unit: str
    """The label of the vertical axis."""
    names: tuple[str, ...]
    """The columns."""
    meaning: str
    """What the strip shows, for the caption."""


STRIPS: tuple[Strip, ...] = (
    Strip("Conflict, gap", ("active_conflict", "state_conflict", "state_gap", "global_gap"), "Geometry conflict"),
    Strip("Cosine, share", ("mean_grad_cos", "min_grad_cos", "neg_grad_ratio"), "Probe gradients"),
    Strip("Frobenius norm", ("update_norm", "state_norm"), "Size of updates"),
    Strip("Score (fraction)", ("retention_loss", "worst_drop"), "Retention loss and worst drop"),
)
"""The strips of `step_dynamics` from the top. A strip without any value is left out."""


@themed
def step_dynamics(data: Data, *, run: str | None = None, axes: Iterable[Axes] | None = None) -> list[Axes]:
    """Signals and outcomes of one run over its steps.

    Args:
        data: a store, or rows of `step_signals`.
        run: which run, where there are several.
        axes: axes to draw in, one a strip that has values.

    Returns:
        The axes, from the top: conflict, gradients, norms, scores.

    Raises:
        NothingToDraw: no signal has a value.
        SettingsError: the run is not named, or not there.
    """
    frame = one_run(need(as_tables(data, name="step_signals").get("step_signals"), ("run", "step"), name="rows"), run)
    strips = [s for s in STRIPS if any(has_values(frame, name) for name in s.names)]
    if not strips:
        raise NothingToDraw("no signal of the run has a value", run=run)
    size = ONE_COLUMN if frame.height <= 20 else TWO_COLUMNS, 1.1 * len(strips) + 1.0
    found = many_axes(axes, len(strips), 1, size)
    for ax, strip in zip(found, strips, strict=True):
        _draw_strip(ax, frame, strip, last=strip is strips[-1])
    found[0].set_title(frame["run"][0])
    return found


def _draw_strip(ax: Axes, frame: pl.DataFrame, strip: Strip, *, last: bool) -> None:
    names = [name for name in strip.names if has_values(frame, name)]
    draw_lines(ax, frame, names)
    step_axis(ax, frame, tasks=last)
    zero_line(ax)
    grid_lines(ax, axis="y")
    finish(ax, x="Task trained at the step" if last else "", y=strip.unit)
    ax.tick_params(labelbottom=last)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    text = f"{strip.meaning} over the steps of run {frame['run'][0]}; a gap in a line is a step without a value"
    describe(ax, text, table="step_signals", frame=frame, shows=names)
