"""Entries of a catalogue by name, for `--only`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from geodiag.errors import SettingsError


class Named(Protocol):
    """An entry of a catalogue."""

    @property
    def name(self) -> str:
        """Its name, unique in the catalogue."""


E = TypeVar("E", bound=Named)


def select(only: Iterable[str] | None, catalogue: Sequence[E], *, kind: str) -> list[E]:
    """Entries by name, or by the beginning of a name up to an underscore ("fig05").

    Args:
        only: names, or one name; None for every entry.
        catalogue: the entries.
        kind: what an entry is, for the error: "figure" or "table".

    Returns:
        The entries in the catalogue's order, each once.

    Raises:
        SettingsError: no entry has one of the names; the message lists those there are.
    """
    if only is None:
        return list(catalogue)
    names = [only] if isinstance(only, str) else list(only)
    for name in names:
        if not any(_is_named(entry, name) for entry in catalogue):
            raise SettingsError(f"no {kind} {name!r}", fix=f"one of: {', '.join(entry.name for entry in catalogue)}")
    return [entry for entry in catalogue if any(_is_named(entry, name) for name in names)]


def _is_named(entry: Named, name: str) -> bool:
    return entry.name == name or entry.name.startswith(f"{name}_")
