"""The HTML report of a store, one self-contained page."""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from geodiag.common import __version__
from geodiag.common.text import counted
from geodiag.explain import StoreEvidence, explain_step
from geodiag.explain.html import explanation_html, style_sheet
from geodiag.report.heatmap import heatmap_html
from geodiag.report.runs import StepKey, cost_map, first_step, run_panel, runs_table
from geodiag.report.sections import draw_pictures, marked_up, pictures_html, tables_html
from geodiag.report.signals import correlations_html
from geodiag.store import StoreReader
from geodiag.tables import Options
from geodiag.tables.catalog import compute_all
from geodiag.tables.page import make_page


class Pieces:
    """Many texts of HTML cut at their tags, every piece kept once.

    Explanations of one run's steps repeat series and phrases, further apart than gzip's window of 32 kB. Sorted
    pieces bring equal ones together: the page of a large store becomes four times smaller than by gzip alone.

    Args:
        texts: all texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.pieces = sorted({piece for text in texts for piece in _cut(text)})
        self._at = {piece: at for at, piece in enumerate(self.pieces)}

    def places(self, text: str) -> list[int]:
        """Indices of a text's pieces; joined in this order they are the text."""
        return [self._at[piece] for piece in _cut(text)]


def pack_text(data: Any) -> str:
    """JSON, gzipped, as base64; the same text every time. No character of it means anything in HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode("ascii")


def _cut(text: str) -> list[str]:
    return re.split(r"(?=<)", text)


def write_report(store: StoreReader, out: str | Path, options: Options | None = None) -> Path:
    """Writes the report of a store as one HTML file without a link to anything outside it.

    Args:
        store: the store, or a view of some of its runs.
        out: the file to write; its folder is made where it is not there.
        options: draws, seed and the independent unit of the statistics.

    Returns:
        The file.

    Raises:
        StoreError: the store holds no run.

    Example:
        >>> import geodiag
        >>> from geodiag.report import write_report
        >>> write_report(geodiag.load_example("lab"), "report.html")  # doctest: +SKIP
        PosixPath('report.html')
    """
    computed = compute_all(store, options)
    evidence = StoreEvidence(store, options)
    page = make_page(computed, compare_paper=False)
    first = first_step(evidence)
    texts = {
        "title": escape(_title(evidence)),
        "store": escape(str(store.path)),
        "version": escape(__version__),
        "summary": "".join(f"<p>{marked_up(sentence)}</p>" for sentence in page.summary),
        "notes": "".join(f"<li>{marked_up(note)}</li>" for note in page.notes),
        "runs": runs_table(evidence),
        "costs": heatmap_html(cost_map(evidence)),
        "run_options": _options(list(evidence.runs), first[0]),
        "panel": run_panel(evidence, first[0]),
        "explanation": explanation_html(explain_step(store, *first, evidence=evidence), style=False),
        "correlations": _correlations(computed.frames.get("confounds")),
        "figures": pictures_html(draw_pictures(computed)),
        "tables": tables_html(page),
        "blob": pack_text(explanations(evidence, first)),
    }
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_fill(texts), encoding="utf-8")
    return path


def explanations(evidence: StoreEvidence, first: StepKey) -> dict[str, object]:
    """Every run's panel, its steps and their explanations, as HTML in pieces."""
    panels = {run: run_panel(evidence, run) for run in evidence.runs}
    texts = {run: {step: _text(evidence, run, step) for step, _ in _steps(evidence, run)} for run in evidence.runs}
    pieces = Pieces([*panels.values(), *chain.from_iterable(by_step.values() for by_step in texts.values())])
    runs = {
        run: {
            "panel": pieces.places(panels[run]),
            "steps": [[step, _step_name(evidence, run, step, task)] for step, task in _steps(evidence, run)],
            "said": {step: pieces.places(text) for step, text in texts[run].items()},
        }
        for run in evidence.runs
    }
    return {"first": first, "pieces": pieces.pieces, "runs": runs}


def _title(evidence: StoreEvidence) -> str:
    return f"Forgetting in {counted(len(evidence.runs), 'run')}"


def _steps(evidence: StoreEvidence, run: str) -> list[tuple[int, str | None]]:
    columns = evidence.steps_of[run]
    return list(zip(columns["step"], columns["task"], strict=True))


def _step_name(evidence: StoreEvidence, run: str, step: int, task: str | None) -> str:
    return f"{step}" if task is None else f"{step}: {evidence.labels(run).get(task, task)}"


def _text(evidence: StoreEvidence, run: str, step: int) -> str:
    return explanation_html(explain_step(evidence.store, run, step, evidence=evidence), style=False)


def _options(names: list[str], chosen: str) -> str:
    return "".join(f"<option{' selected' if name == chosen else ''}>{escape(name)}</option>" for name in names)


def _correlations(confounds: pl.DataFrame | None) -> str:
    if confounds is None:
        return "<p>This store has no scores to hold signals against.</p>"
    return correlations_html(confounds)


def _fill(texts: dict[str, str]) -> str:
    """The page with its texts, style and script, and a policy that lets it run that script and load nothing."""
    script = _file("report.js")
    # A browser hashes what stands between the tags, so the script goes in as it is, line ends and all.
    allowed = b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    style = _file("report.css") + style_sheet()
    return Template(_file("report.html")).substitute(texts, script=script, style=style, policy=policy)


def _file(name: str) -> str:
    return (files("geodiag.report") / name).read_text(encoding="utf-8")
