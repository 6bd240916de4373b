"""An explanation in words: numbers, placements and correlations in sentences, and the whole as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from geodiag.common.text import counted
from geodiag.explain.results import ExplanationParts, Line, LossCorrelation, Section, lines_of
from geodiag.stats.placement import LEAST_AT_STEP, Placement
from geodiag.tables.format import interval_text, number_text

STRONG, MODERATE = 0.5, 0.3
"""|rho| at a fixed step from which a clear relation is called strong or moderate."""


def number_words(value: float | None) -> str:
    """A number with three decimals; with four significant digits where it is 100 and more or under 0.001."""
    if value is None:
        return "–"
    return number_text(value, 3) if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign and so many decimals."""
    if value is None:
        return "–"
    text = number_text(value, digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def percent_words(share: float | None) -> str:
    """A share as a percentage: `61 %`, `0.4 %`."""
    if share is None:
        return "–"
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:.0f} %"


def rank_words(place: Placement) -> str:
    """The rank from the nearer end: `highest of the run's 8`."""
    if place.of == 1:
        return "the run's only one"
    above, below = place.rank, place.of - place.rank + 1
    end, from_end = ("highest", above) if above <= below else ("lowest", below)
    nth = "" if from_end == 1 else f"{ordinal(from_end)} "
    return f"{nth}{end} of the run's {place.of}"


def ordinal(place: int) -> str:
    """`2nd`, `11th`."""
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def z_words(place: Placement) -> str:
    """`robust z +4.1 (unusual from 7.8)`; empty where it is not defined."""
    if place.z is None or place.critical is None:
        return ""
    trend = ", trend taken off" if place.detrended else ""
    rare = "unusual, beyond" if place.unusual else "unusual from"
    return f"robust z {signed(place.z, 1)} ({rare} {place.critical:.1f}{trend})"


def place_words(place: Placement | None) -> str:
    """A number's rank, robust z and percentiles in a clause; empty for None."""
    if place is None:
        return ""
    words = ", ".join(part for part in (rank_words(place), z_words(place)) if part)
    if place.percentile is not None:
        kind = f" of size {place.within}" if place.within else ""
        words += f"; percentile {place.percentile:.0f} among {place.among} others in the store{kind}"
    if place.at_step is not None and place.among_at_step >= LEAST_AT_STEP:
        words += f", {place.at_step:.0f} among {place.among_at_step} at this step of other runs"
    return words


def strength(correlation: LossCorrelation) -> str:
    """`strong`, `moderate`, `slight`, `weak` or `unknown`."""
    if not correlation.has_interval:
        return "unknown"
    if not correlation.clear:
        return "weak"
    size = abs(correlation.rho or 0.0)
    return "strong" if size >= STRONG else "moderate" if size >= MODERATE else "slight"


def correlation_words(correlation: LossCorrelation | None) -> str:
    """Strength, direction and interval of a correlation in a clause; empty for None."""
    if correlation is None:
        return ""
    name, target, runs = correlation.signal, correlation.target, correlation.runs
    if correlation.rho is None and runs >= correlation.least:
        return f"how {name} goes with {target} at a fixed step is not defined here"
    if not correlation.has_interval:
        few = f"{counted(runs, 'run')} with both, {correlation.least} are needed"
        return f"whether {name} goes with {target} cannot be known here: {few}"
    rho = f"{_rho_words(correlation)} with {target} at a fixed step, {counted(runs, 'run')}"
    if correlation.clear:
        worse = "more" if (correlation.rho or 0.0) < 0 else "less"
        return f"{name} is {strength(correlation)} evidence in this store: higher goes with {worse} lost, {rho}"
    pooled = correlation.pooled or 0.0
    drift = f" (over all steps {number_text(pooled)}: mostly the step index)" if abs(pooled) >= MODERATE else ""
    return f"{name} is weak evidence in this store: no relation is shown, {rho}{drift}"


def correlation_cell(correlation: LossCorrelation | None) -> str:
    """Strength and interval for a table: `strong, ρ = -0.62 [-0.71, -0.50]`; empty for None."""
    if correlation is None:
        return ""
    return f"{strength(correlation)}, {_rho_words(correlation)}" if correlation.has_interval else "not known"


def _rho_words(correlation: LossCorrelation) -> str:
    return f"ρ = {number_text(correlation.rho)} {interval_text(correlation.low, correlation.high)}"


def trust_words(explanation: ExplanationParts) -> str:
    """A sentence on how evidence is graded in this store, or why it cannot be."""
    correlations = [line.track for line in lines_of(explanation.sections) if line.track]
    runs = counted(explanation.runs, "run")
    if any(correlation.has_interval for correlation in correlations):
        return (
            "Evidence is called strong, moderate, slight or weak by how its kind went with what was lost over this "
            f"store's {runs} at a fixed step index."
        )
    least = max((correlation.least for correlation in correlations), default=None)
    if least is None or explanation.runs >= least:
        return "How kinds of evidence go with forgetting cannot be known here: too few runs have scores."
    return (
        f"Which kinds of evidence go with forgetting cannot be known here: the store has "
        f"{runs}, and {least} are the least from which a relation can be told."
    )


SHARE_HEADINGS = (
    "part",
    "share",
    "usual",
    "odds",
    "robust z",
    "unusual from",
    "in the run",
    "in the store",
    "of ΔGC",
    "record",
)
"""Headings of the table of shares."""
LEGEND = (
    "Share of the step's squared update; usual: median of the run's other steps; odds: of the share, as a multiple of "
    "the usual; in the store: percentile among runs of this size; of ΔGC: part of the change of state GC since the "
    "previous step; record: how the share went with forgetting in this store at a fixed step."
)
"""Meanings of its columns."""


def is_share(line: Line) -> bool:
    """Whether a line belongs to the table of shares."""
    return line.name.split(":")[0] in ("family", "block", "task_family")


def share_rows(lines: Iterable[Line]) -> list[tuple[str, ...]]:
    """Cells of the table of shares as text, one row a line."""
    return [_row(line) for line in lines]


def filled_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    """Indices of the columns of the table of shares with at least one entry."""
    return [k for k in range(len(SHARE_HEADINGS)) if any(row[k] not in ("–", "not known") for row in rows)]


def _row(line: Line) -> tuple[str, ...]:
    place, numbers = line.place, line.numbers
    source = " (new task's update)" if line.name.startswith("task_") else ""
    return (
        f"{line.label}{source}",
        percent_words(line.value),
        percent_words(numbers["usual"]),
        f"× {number_words(numbers['odds_ratio'])}" if numbers["odds_ratio"] is not None else "–",
        "–" if place is None or place.z is None else signed(place.z, 1),
        "–" if place is None or place.z is None or place.critical is None else f"{place.critical:.1f}",
        "" if place is None else rank_words(place).replace("the run's ", ""),
        "–" if place is None or place.percentile is None else f"{place.percentile:.0f}",
        signed(numbers.get("state_conflict_change"), 4),
        correlation_cell(line.track) or "–",
    )


def line_details(line: Line) -> list[str]:
    """Placement of a line and correlation of its kind with the loss, in words; those that are defined."""
    correlation = line.track if line.track is not None and line.track.has_interval else None
    return [words for words in (place_words(line.place), correlation_words(correlation)) if words]


MOST_NAMES = 12
"""Labels of unremarkable evidence that are listed."""


def explanation_text(explanation: ExplanationParts, *, width: int) -> str:
    """Verdict, evidence and advice as text, wrapped at `width` characters."""
    e = explanation
    title = f"{e.run}, step {e.step} of {e.n_steps}: {e.label} ({e.method}, {e.size})"
    lines = [*_wrapped(title, width), "=" * min(width, len(title)), *_wrapped(e.verdict.text, width), ""]
    lines += _wrapped(trust_words(e), width)
    for section in e.sections:
        lines += ["", *_section(section, width)]
    if e.advice:
        lines += ["", "What to try", "-----------"]
        for advice in e.advice:
            lines += _bullet(f"{advice.action}. Because {advice.why}.", width)
    return "\n".join(lines)


def _section(section: Section, width: int) -> Iterator[str]:
    yield section.title
    yield "-" * len(section.title)
    yield from _wrapped(section.lead, width)
    for line in section.lines:
        if not is_share(line):
            yield from _line(line, width)
    yield from _table([line for line in section.lines if is_share(line)])
    if section.more:
        names = ", ".join(line.label for line in section.more[:MOST_NAMES])
        rest = len(section.more) - MOST_NAMES
        yield from _wrapped(f"Nothing of note: {names}{f' and {rest} more' if rest > 0 else ''}.", width)
    for note in section.notes:
        yield from _wrapped(note, width)


def _line(line: Line, width: int) -> Iterator[str]:
    yield from _bullet(f"{line.text}.", width, mark="!" if line.warn else "-")
    for words in line_details(line):
        yield from wrap(words, width, initial_indent="    ", subsequent_indent="    ")


def _table(lines: list[Line]) -> Iterator[str]:
    """Shares in columns; a column without a single entry is left out."""
    if not lines:
        return
    rows = share_rows(lines)
    kept = filled_columns(rows)
    marks = [" ", *("!" if line.warn else " " for line in lines)]
    cells = [[SHARE_HEADINGS[k] for k in kept], *([row[k] for k in kept] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(kept))]
    for mark, row in zip(marks, cells, strict=True):
        yield f"{mark} {_joined(row, widths)}".rstrip()


def _joined(row: Iterable[str], widths: list[int]) -> str:
    first, *rest = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(size) for cell, size in rest)])


def _bullet(text: str, width: int, *, mark: str = "-") -> list[str]:
    return wrap(text, width, initial_indent=f"{mark} ", subsequent_indent="  ", break_long_words=False)


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_long_words=False)
