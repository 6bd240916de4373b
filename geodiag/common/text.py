"""Counted nouns, lists, error messages and the choice of entries by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from geodiag.errors import SettingsError


def counted(number: int, noun: str) -> str:
    """`1 layer`, `2 layers`, `0 layers`.

    Args:
        number: how many.
        noun: in the singular; its plural takes an s.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], *, most: int | None = None) -> str:
    """`a`, `a and b`, `a, b and c`; with `most` names at the most, `a, b, c and 4 more`.

    Args:
        names: at least one.
        most: how many are written out; None writes all.
    """
    if most is not None and len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, 200 characters at most; its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


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
