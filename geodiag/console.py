"""How the command line speaks: bars on a terminal, plain lines in a log, nothing with `-q`."""

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
"""Seconds between the lines that a log gets about a run under way."""


class Voice:
    """Where lines go, and whether they go at all.

    Args:
        quiet: say nothing but errors.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.out = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line of result on standard output."""
        self.out.print(text, markup=False)

    def complain(self, text: str) -> None:
        """One line on standard error, which `-q` does not silence."""
        self.err.print(text, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Something to hand to a job: bars where a person watches, lines where a log does."""
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
    """A line when a run starts and every few seconds while it goes on."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._what, self._parts, self._done, self._last = "", 0, 0, 0.0

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        self._what, self._parts, self._done, self._last = what, parts, done, time.monotonic()
        again = f", {done} of them from an earlier attempt" if done else ""
        self._tell(f"{run}: {parts} {what}{again}")

    def part_done(self, run: str, part: str) -> None:
        self._done += 1
        if time.monotonic() - self._last > LOG_EVERY:
            self._last = time.monotonic()
            self._tell(f"{run}: {self._done}/{self._parts} {self._what}, last {part}")

    def run_ended(self, run: str) -> None:
        """The summary says it."""

    def note(self, text: str) -> None:
        self._tell(f"note: {text}")

    def _tell(self, text: str) -> None:
        if not self._voice.quiet:
            self._voice.complain(text)


def tell_batch(
    voice: Voice,
    report: BatchReport,
    *,
    statuses: Sequence[str] = ("done", "unchanged", "partial", "failed"),
    debug: bool = False,
) -> None:
    """What became of every run: a line each, failures on standard error and last.

    Args:
        voice: who says it.
        report: what became of them.
        statuses: what is counted in the last line.
        debug: show where each failure comes from.
    """
    for outcome in report.outcomes:
        if outcome.status != "failed":
            voice.say(f"{outcome.run}: {outcome.detail}")
    for outcome in report.failed:
        for error in outcome.errors:
            if debug:
                voice.complain("".join(traceback.format_exception(error)))
            voice.complain(f"failed: {error}")
    counts = {s: sum(o.status == s for o in report.outcomes) for s in statuses}
    voice.say(", ".join(f"{n} {status}" for status, n in counts.items() if n or status != "partial"))
