"""Which of the step's numbers mean little: updates at the rounding floor or zero, a visible lambda, lost energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from geodiag.explain.results import Line, Section
from geodiag.explain.subject import Subject
from geodiag.explain.words import count, number_words, percent_words


@dataclass(frozen=True)
class Check:
    """One check of a step's measurements."""

    name: str
    """The column it looks at."""
    label: str
    """What it is called."""
    bad: Callable[[float], bool]
    """Whether a value is bad."""
    says: str
    """What a bad value means for the reader; `{value}` is the value."""
    form: Callable[[float | None], str] = percent_words
    """How the value is written."""


HEALTH_CHECKS: tuple[Check, ...] = (
    Check(
        "floor_share",
        "At the rounding floor",
        lambda v: v > 0,
        "{value} of the step's updates are no larger than rounding alone would make them: their SAR and conflict "
        "describe the number format",
    ),
    Check(
        "zero_updates",
        "Zero updates",
        lambda v: v > 0,
        "{value} of the step's updates are exactly zero: they have no geometry and are left out of every mean",
    ),
    Check(
        "lambda_share_mean",
        "Lambda share",
        lambda v: v > 0.01,
        "lambda contributes {value} of the compared traces: conflicts are pulled down",
    ),
    Check(
        "lambda_share_max",
        "Lambda share, worst layer",
        lambda v: v > 0.01,
        "lambda contributes up to {value} of the traces of a pair in some layer: its conflict is pulled down there",
    ),
    Check(
        "energy_kept",
        "Energy kept",
        lambda v: v < 0.8,
        "only {value} of the updates' squared norm lies in the kept directions: the rank limit shapes the geometry",
    ),
    Check(
        "undefined_share",
        "Undefined pairs",
        lambda v: v > 0,
        "{value} of the comparisons are undefined, for want of an update",
    ),
    Check(
        "grad_reliability",
        "Gradient reliability",
        lambda v: v < 0.5,
        "probe gradients repeat only {value} between halves of their examples: their cosines are mostly noise",
        number_words,
    ),
)
"""Every check. What is not measured is not checked."""


def health_section(subject: Subject) -> Section:
    """The section on what not to read."""
    lines = [_line(subject, check) for check in HEALTH_CHECKS]
    known = [line for line in lines if line.value is not None]
    bad = [line for line in known if line.warn]
    lead = f"{count(len(bad), 'check')} of {len(known)} failed." if bad else "Nothing speaks against these numbers."
    if not known:
        lead = "Nothing could be checked."
    return Section("health", "What not to read", lead, tuple(bad), tuple(line for line in known if not line.warn))


def _line(subject: Subject, check: Check) -> Line:
    found = subject.row[check.name]
    value = None if found is None else float(found)
    bad = value is not None and check.bad(value)
    told = check.says.format(value=check.form(value)) if bad else f"{check.label}: {check.form(value)}"
    return Line(f"health:{check.name}", check.label, value, told, warn=bad, weight=1.0 if bad else 0.0)
