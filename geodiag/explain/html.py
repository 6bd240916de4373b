"""An explanation as HTML, readable on light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from geodiag.explain.results import Advice, ExplanationParts, Line, Section
from geodiag.explain.text import (
    LEGEND,
    SHARE_HEADINGS,
    filled_columns,
    is_share,
    line_details,
    number_words,
    share_rows,
    trust_words,
)

WIDTH, HEIGHT, MARGIN = 96, 26, 4
"""Of a sparkline, in pixels."""


def sparkline(line: Line) -> str:
    """Inline SVG with a dot a step, that of this step large; empty where fewer than two steps have the number."""
    values = [(k, value) for k, value in enumerate(line.course) if value is not None]
    if len(values) < 2:
        return ""
    low, high = min(value for _, value in values), max(value for _, value in values)
    points = [(_x(k, len(line.course)), _y(value, low, high)) for k, value in values]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(_dot(x, y, large=k == line.at) for (k, _), (x, y) in zip(values, points, strict=True))
    label = escape(f"{line.label} over the run's steps, from {number_words(low)} to {number_words(high)}", quote=True)
    return (
        f"<svg class='gd-course' width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{label}'><polyline points='{path}'/>{dots}</svg>"
    )


def _x(step: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * step / max(count - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    share = 0.5 if high == low else (value - low) / (high - low)
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share


def _dot(x: float, y: float, *, large: bool) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{3.2 if large else 1.4}'{' class=gd-here' if large else ''}/>"


TEXT_COLUMNS = (0, 6, 9)
"""Columns of the table of shares that hold words, aligned left."""


def explanation_html(explanation: ExplanationParts, *, style: bool = True) -> str:
    """The explanation as one `article` element.

    Args:
        explanation: the explanation.
        style: put the style sheet in front; a page with several explanations needs it once.
    """
    e = explanation
    title = f"{e.run}, step {e.step} of {e.n_steps}: {e.label}"
    parts = [
        f"<header><h3>{escape(title)}</h3><p class='gd-faint'>{escape(f'{e.method}, {e.size}')}</p></header>",
        _verdict(e),
        _advice(e.advice),
        f"<p class='gd-faint'>{escape(trust_words(e))}</p>",
        *(_section(section) for section in e.sections),
    ]
    sheet = f"<style>{style_sheet()}</style>" if style else ""
    return f"{sheet}<article class='geodiag-explain'>{''.join(parts)}</article>"


@cache
def style_sheet() -> str:
    """Style sheet of an explanation; all its selectors begin with `.geodiag-explain`."""
    return (files("geodiag.explain") / "explain.css").read_text(encoding="utf-8")


def _verdict(e: ExplanationParts) -> str:
    level = escape(e.verdict.confidence)
    return (
        f"<div class='gd-verdict gd-{level}'><p>{escape(e.verdict.text)}</p>"
        f"<p class='gd-faint'>Finding: {escape(e.verdict.cause)}. Confidence: {level}.</p></div>"
    )


def _section(section: Section) -> str:
    return (
        f"<section class='gd-{escape(section.name)}'><h4>{escape(section.title)}</h4><p>{escape(section.lead)}</p>"
        f"{_lines(section.lines)}{_more(section.more)}{_notes(section.notes)}</section>"
    )


def _lines(lines: Iterable[Line]) -> str:
    lines = list(lines)
    items = "".join(_line(line) for line in lines if not is_share(line))
    shares = [line for line in lines if is_share(line)]
    return (f"<ul>{items}</ul>" if items else "") + _table(shares)


def _line(line: Line) -> str:
    mark = "<span class='gd-mark'>stands out</span> " if line.warn else ""
    details = "".join(f"<div class='gd-faint'>{escape(words)}</div>" for words in line_details(line))
    return f"<li{_warned(line)}>{sparkline(line)}<div>{mark}{escape(line.text)}.{details}</div></li>"


def _table(lines: list[Line]) -> str:
    if not lines:
        return ""
    rows = share_rows(lines)
    kept = filled_columns(rows)
    head = "".join(f"<th scope='col'{_numeric(k)}>{escape(SHARE_HEADINGS[k])}</th>" for k in kept)
    body = "".join(
        f"<tr{_warned(line)}>" + "".join(_cell(k, row[k], line) for k in kept) + "</tr>"
        for line, row in zip(lines, rows, strict=True)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    wide = f"<div class='gd-wide' tabindex='0' role='group' aria-label='Shares'>{table}</div>"
    return f"{wide}<p class='gd-faint'>{LEGEND}</p>"


def _cell(column: int, text: str, line: Line) -> str:
    if column == 0:
        mark = " <span class='gd-mark'>stands out</span>" if line.warn else ""
        return f"<th scope='row'>{escape(text)}{mark}</th>"
    return f"<td{_numeric(column)}>{escape(text)}</td>"


def _numeric(column: int) -> str:
    return "" if column in TEXT_COLUMNS else " class='gd-number'"


def _warned(line: Line) -> str:
    return " class='gd-warn'" if line.warn else ""


def _more(lines: tuple[Line, ...]) -> str:
    if not lines:
        return ""
    return f"<details><summary>Nothing of note: {len(lines)} more</summary>{_lines(lines)}</details>"


def _notes(notes: tuple[str, ...]) -> str:
    return "".join(f"<p class='gd-faint'>{escape(note)}</p>" for note in notes)


def _advice(advice: tuple[Advice, ...]) -> str:
    if not advice:
        return ""
    items = "".join(
        f"<li>{escape(one.action)}.<div class='gd-faint'>Because {escape(one.why)}.</div></li>" for one in advice
    )
    return f"<section class='gd-advice'><h4>What to try</h4><ol>{items}</ol></section>"
