"""What a job tells whoever watches it; the command line draws it, a library call may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The events of a batch, in the order they happen."""

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        """A run begins: how many parts (layers, steps) it has, and how many of them an earlier attempt finished."""

    def part_done(self, run: str, part: str) -> None:
        """One part's rows are on disk."""

    def run_ended(self, run: str) -> None:
        """The run is stored, or has failed."""

    def note(self, text: str) -> None:
        """Something a person should know: one line."""


class Silent:
    """Tells nobody."""

    def run_started(self, run: str, *, parts: int, done: int, what: str) -> None:
        """Ignored."""

    def part_done(self, run: str, part: str) -> None:
        """Ignored."""

    def run_ended(self, run: str) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""
