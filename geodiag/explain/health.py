"""Checks of a step's measurements: rounding floor, zero updates, lambda, energy kept, reliability of gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodiag.common.text import counted
from geodiag.explain.results import Line, Section
from geodiag.explain.subject import Subject
from geodiag.explain.text import number_words, percent_words
from geodiag.signals.catalog import label


@dataclass(frozen=True)
class Check:
    """A check of one column of a step."""

    name: str
    """The column."""
    bad: Callable[[float], bool]
    """Whether a value fails the check."""
    meaning: str
    """Consequence of a failed check; `{value}` stands for the value."""
    form: Callable[[float | None], str] = percent_words
    """Format of the value."""


HEALTH_CHECKS: tuple[Check, ...] = (
    Check(
        "floor_share",
        lambda v: v > 0,
        "{value} of the step's updates are no larger than rounding alone would make them: their SAR and conflict "
        "describe the number format",
    ),
    Check(
        "zero_updates",
        lambda v: v > 0,
        "{value} of the step's updates are exactly zero: they have no geometry and are left out of every mean",
    ),
    Check(
        "lambda_share_mean",
        lambda v: v > 0.01,
        "lambda contributes {value} of the compared traces: conflicts are pulled down",
    ),
    Check(
        "lambda_share_max",
        lambda v: v > 0.01,
        "lambda contributes up to {value} of the traces of a pair in some layer: its conflict is pulled down there",
    ),
    Check(
        "energy_kept",
        lambda v: v < 0.8,
        "only {value} of the updates' squared norm lies in the kept directions: the rank limit shapes the geometry",
    ),
    Check(
        "undefined_share",
        lambda v: v > 0,
        "{value} of the comparisons are undefined, for want of an update",
    ),
    Check(
        "grad_reliability",
        lambda v: v < 0.5,
        "probe gradients repeat only {value} between halves of their examples: their cosines are mostly noise",
        number_words,
    ),
)
"""All checks; columns without a value are not checked."""


def health_section(subject: Subject) -> Section:
    """Section on the failed checks."""
    lines = [_line(subject, check) for check in HEALTH_CHECKS]
    checked = [line for line in lines if line.value is not None]
    bad = [line for line in checked if line.warn]
    lead = f"{counted(len(bad), 'check')} of {len(checked)} failed." if bad else "Nothing speaks against these numbers."
    if not checked:
        lead = "Nothing could be checked."
    return Section("health", "What not to read", lead, tuple(bad), tuple(line for line in checked if not line.warn))


def _line(subject: Subject, check: Check) -> Line:
    cell = subject.row[check.name]
    value = None if cell is None else float(cell)
    bad = value is not None and check.bad(value)
    text = check.meaning.format(value=check.form(value)) if bad else f"{label(check.name)}: {check.form(value)}"
    return Line(f"health:{check.name}", label(check.name), value, text, warn=bad, weight=1.0 if bad else 0.0)
