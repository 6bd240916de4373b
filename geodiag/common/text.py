"""Counted nouns, lists and error messages in sentences."""

from __future__ import annotations

from collections.abc import Sequence


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
