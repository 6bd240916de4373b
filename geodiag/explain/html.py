"""An explanation as HTML, readable on light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from html import escape
from importlib.resources import files

from geodiag.explain.results import Advice, Explanation, Line, Section
from geodiag.explain.text import LEGEND, SHARE_HEADINGS, is_share, share_rows
from geodiag.explain.words import number_words, place_words, track_words, trust_words

WIDTH, HEIGHT, MARGIN = 96, 26, 4
"""In pixels."""


def sparkline(line: Line) -> str:
    """An inline SVG with a dot a step, this step's large; empty where fewer than two steps have the number."""
    known = [(k, value) for k, value in enumerate(line.course) if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(value for _, value in known), max(value for _, value in known)
    points = [(_x(k, len(line.course)), _y(value, low, high)) for k, value in known]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(_dot(x, y, large=k == line.at) for (k, _), (x, y) in zip(known, points, strict=True))
    said = escape(f"{line.label} over the run's steps, from {number_words(low)} to {number_words(high)}", quote=True)
    return (
        f"<svg class='gd-course' width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label='{said}'><polyline points='{path}'/>{dots}</svg>"
    )


def _x(step: int, count: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * step / max(count - 1, 1)


def _y(value: float, low: float, high: float) -> float:
    share = 0.5 if high == low else (value - low) / (high - low)
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share


def _dot(x: float, y: float, *, large: bool) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{3.2 if large else 1.4}'{' class=gd-here' if large else ''}/>"


TEXT_COLUMNS = (0, 6, 9)
"""Columns of the table of shares that are words."""


def explanation_html(explanation: Explanation, *, style: bool = True) -> str:
    """The explanation as one element.

    Args:
        explanation: what to show.
        style: put the style sheet in front; a page that has it already does not need it.
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
    """The style of an explanation; every rule of it is inside `.geodiag-explain`."""
    return (files("geodiag.explain") / "explain.css").read_text(encoding="utf-8")


def _verdict(e: Explanation) -> str:
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
    every = list(lines)
    items = "".join(_line(line) for line in every if not is_share(line))
    shares = [line for line in every if is_share(line)]
    return (f"<ul>{items}</ul>" if items else "") + _table(shares)


def _line(line: Line) -> str:
    mark = "<span class='gd-mark'>stands out</span> " if line.warn else ""
    known = track_words(line.track) if line.track is not None and line.track.known else ""
    said = "".join(f"<div class='gd-faint'>{escape(told)}</div>" for told in (place_words(line.place), known) if told)
    return f"<li{_warned(line)}>{sparkline(line)}<div>{mark}{escape(line.text)}.{said}</div></li>"


def _table(lines: list[Line]) -> str:
    if not lines:
        return ""
    rows = share_rows(lines)
    kept = [k for k in range(len(SHARE_HEADINGS)) if any(row[k] not in ("–", "not known") for row in rows)]
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
