"""Output of the command line: progress bars on a terminal, plain lines in a log, only errors with `-q`."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from rich.progress import TaskID

    from geodiag.jobs import BatchReport, Progress

LOG_EVERY = 10.0
"""Seconds between two lines of progress on a run in a log."""


class Output:
    """Standard output and standard error of a command.

    Args:
        quiet: print errors only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.out = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def print(self, text: str) -> None:
        """Print a line of results on standard output."""
        self.out.print(text, markup=False)

    def print_error(self, text: str) -> None:
        """Print a line on standard error, also with `-q`."""
        self.err.print(text, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """The progress of a job: bars where standard error is a terminal, lines where it is a file."""
        if self.quiet or not self.err.is_terminal:
            yield _Lines(self)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.err) as bars:
            yield _BarsOfRuns(bars)


class _BarsOfRuns:
    """One bar a run, counting layers."""

    def __init__(self, bars: Bars) -> None:
        self._bars, self._ids = bars, dict[str, "TaskID"]()

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        self._ids[run] = self._bars.add_task(f"{run} {what}", total=parts, completed=done)

    def part_done(self, run: str, part: str) -> None:  # noqa: ARG002  (the bar shows a count)
        self._bars.advance(self._ids[run])

    def run_ended(self, run: str) -> None:
        if run in self._ids:
            self._bars.stop_task(self._ids[run])

    def note(self, text: str) -> None:
        self._bars.console.print(f"note: {text}", markup=False)


class _Lines:
    """A line when a run starts, and one every `LOG_EVERY` seconds until it ends."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._unit, self._parts, self._done, self._last = "", 0, 0, 0.0

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        self._unit, self._parts, self._done, self._last = what, parts, done, time.monotonic()
        again = f", {done} of them from an earlier attempt" if done else ""
        self._print(f"{run}: {parts} {what}{again}")

    def part_done(self, run: str, part: str) -> None:
        self._done += 1
        if time.monotonic() - self._last > LOG_EVERY:
            self._last = time.monotonic()
            self._print(f"{run}: {self._done}/{self._parts} {self._unit}, last {part}")

    def run_ended(self, run: str) -> None:
        """Nothing: the summary of the batch reports the end of a run."""

    def note(self, text: str) -> None:
        self._print(f"note: {text}")

    def _print(self, text: str) -> None:
        if not self._output.quiet:
            self._output.print_error(text)


def print_batch(
    output: Output,
    report: BatchReport,
    *,
    statuses: Sequence[str] = ("done", "unchanged", "partial", "failed"),
    debug: bool = False,
) -> None:
    """Print the outcome of every run, a line each, failures last and on standard error, then the counts.

    Args:
        output: the command's output.
        report: the outcomes.
        statuses: the statuses that the last line counts.
        debug: print the traceback of each error.
    """
    for outcome in report.outcomes:
        if outcome.status != "failed":
            output.print(f"{outcome.run}: {outcome.detail}")
    for outcome in report.failed:
        for error in outcome.errors:
            if debug:
                output.print_error("".join(traceback.format_exception(error)))
            output.print_error(f"failed: {error}")
    counts = {s: sum(o.status == s for o in report.outcomes) for s in statuses}
    output.print(", ".join(f"{n} {status}" for status, n in counts.items() if n or status != "partial"))
