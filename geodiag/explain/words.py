"""Numbers, places and records in words."""

from __future__ import annotations

from collections.abc import Sequence

from geodiag.explain.results import Explanation, Track
from geodiag.stats.placement import LEAST_AT_STEP, Placement
from geodiag.tables.format import interval_text, number_text

STRONG, MODERATE = 0.5, 0.3
"""|rho| at a fixed step from which a clear relation is called strong or moderate."""


def number_words(value: float | None) -> str:
    """A number with three digits after the point, or four in all where it is large or tiny."""
    if value is None:
        return "–"
    return number_text(value, 3) if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign."""
    if value is None:
        return "–"
    text = number_text(value, digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def percent_words(share: float | None) -> str:
    """A share as a percentage: "61 %", "0.4 %"."""
    if share is None:
        return "–"
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:.0f} %"


def count(number_of: int, noun: str) -> str:
    """ "1 step", "3 steps"."""
    return f"{number_of} {noun}{'' if number_of == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rank_words(place: Placement) -> str:
    """ "highest of the run's 8"."""
    if place.of == 1:
        return "the run's only one"
    above, below = place.rank, place.of - place.rank + 1
    which, from_end = ("highest", above) if above <= below else ("lowest", below)
    nth = "" if from_end == 1 else f"{ordinal(from_end)} "
    return f"{nth}{which} of the run's {place.of}"


def ordinal(place: int) -> str:
    """ "2nd", "11th"."""
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def z_words(place: Placement) -> str:
    """ "robust z +4.1 (unusual from 7.8)"; empty where there is none."""
    if place.z is None or place.critical is None:
        return ""
    trend = ", trend taken off" if place.detrended else ""
    rare = "unusual, beyond" if place.unusual else "unusual from"
    return f"robust z {signed(place.z, 1)} ({rare} {place.critical:.1f}{trend})"


def place_words(place: Placement | None) -> str:
    """Where a number stands; empty where it has no place."""
    if place is None:
        return ""
    told = ", ".join(part for part in (rank_words(place), z_words(place)) if part)
    if place.percentile is not None:
        kind = f" of size {place.within}" if place.within else ""
        told += f"; percentile {place.percentile:.0f} among {place.among} others in the store{kind}"
    if place.at_step is not None and place.among_at_step >= LEAST_AT_STEP:
        told += f", {place.at_step:.0f} among {place.among_at_step} at this step of other runs"
    return told


def strength(track: Track) -> str:
    """What a record is worth in one word."""
    if not track.known:
        return "unknown"
    if not track.clear:
        return "weak"
    size = abs(track.rho or 0.0)
    return "strong" if size >= STRONG else "moderate" if size >= MODERATE else "slight"


def track_words(track: Track | None) -> str:
    """What a record says; empty where there is none."""
    if track is None:
        return ""
    name = track.signal
    if track.rho is None and track.runs >= track.least:
        return f"how {name} goes with {track.target} at a fixed step is not defined here"
    if not track.known:
        few = f"{count(track.runs, 'run')} with both, {track.least} are needed"
        return f"whether {name} goes with {track.target} cannot be known here: {few}"
    told = f"ρ = {number_text(track.rho)} {interval_text(track.low, track.high)} with {track.target} at a fixed step"
    told += f", {count(track.runs, 'run')}"
    if track.clear:
        worse = "more" if (track.rho or 0.0) < 0 else "less"
        return f"{name} is {strength(track)} evidence in this store: higher goes with {worse} lost, {told}"
    pooled = track.pooled or 0.0
    drift = f" (over all steps {number_text(pooled)}: mostly the step index)" if abs(pooled) >= MODERATE else ""
    return f"{name} is weak evidence in this store: no relation is shown, {told}{drift}"


def record(track: Track | None) -> str:
    """The same in a cell: "strong, ρ = -0.62 [-0.71, -0.50]"."""
    if track is None:
        return ""
    if not track.known:
        return "not known"
    return f"{strength(track)}, ρ = {number_text(track.rho)} {interval_text(track.low, track.high)}"


def trust_words(explanation: Explanation) -> str:
    """What is known in this store of the worth of evidence."""
    tracks = [line.track for section in explanation.sections for line in (*section.lines, *section.more) if line.track]
    if any(track.known for track in tracks):
        return (
            "Evidence is called strong, moderate, slight or weak by how its kind went with what was lost over this "
            f"store's {count(explanation.runs, 'run')} at a fixed step index."
        )
    least = max((track.least for track in tracks), default=None)
    if least is None or explanation.runs >= least:
        return "How kinds of evidence go with forgetting cannot be known here: too few runs have scores."
    return (
        f"Which kinds of evidence go with forgetting cannot be known here: the store has "
        f"{count(explanation.runs, 'run')}, and {least} are the least from which a relation can be told."
    )
