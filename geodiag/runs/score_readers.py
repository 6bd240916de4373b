"""The shapes in which scores come, one reader each; a new shape is one more entry of `READERS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.score_folder import folder_notes, is_folder, read_folder
from geodiag.runs.score_long import is_long, read_long
from geodiag.runs.score_opencompass import is_summary, read_summary_of_steps, summary_notes
from geodiag.runs.score_source import RawScore, ScoreSource
from geodiag.runs.score_tables import TABLE_FORMATS, read_table
from geodiag.runs.score_wide import is_wide, read_wide


@dataclass(frozen=True)
class ScoreReader:
    """How scores of one shape are recognised and read."""

    name: str
    """What the shape is called."""
    shape: str
    """What it looks like, for the error that lists the shapes."""
    accepts: Callable[[ScoreSource], bool]
    """Whether a source has this shape."""
    read: Callable[[ScoreSource, Manifest], list[RawScore]]
    """The scores of a source of this shape."""
    notes: Callable[[ScoreSource, Manifest], list[str]] = lambda _source, _manifest: []
    """What a person should know of such a source."""


READERS: tuple[ScoreReader, ...] = (
    ScoreReader("long", "CSV or Parquet with the columns step, task, score", is_long, read_long),
    ScoreReader("wide", "CSV with one row a step, a column `model` and one column a task", is_wide, read_wide),
    ScoreReader(
        "summary",
        "OpenCompass CSV with dataset, version, metric, mode and one model a step",
        is_summary,
        read_summary_of_steps,
        summary_notes,
    ),
    ScoreReader(
        "results",
        "folder of lm-evaluation-harness or lighteval results_*.json, or of OpenCompass summaries, with a "
        "subfolder a step",
        is_folder,
        read_folder,
        folder_notes,
    ),
)
"""Every shape, in the order in which they are tried."""


def read_raw_scores(path: Path, manifest: Manifest) -> list[RawScore]:
    """The scores of any known shape, as they stand in their source.

    Args:
        path: what `scores:` points to.
        manifest: the run that was scored.

    Raises:
        ScoresError: no reader knows the shape, or a row is wrong.
    """
    source = _opened(path)
    return _reader(source).read(source, manifest)


def source_notes(path: Path, manifest: Manifest) -> list[str]:
    """What a person should know of a source of scores that can be read, one sentence each.

    Args:
        path: what `scores:` points to.
        manifest: the run that was scored.
    """
    source = _opened(path)
    return _reader(source).notes(source, manifest)


def _reader(source: ScoreSource) -> ScoreReader:
    for reader in READERS:
        if reader.accepts(source):
            return reader
    what = "a folder" if source.path.is_dir() else f"columns {', '.join(source.columns)[:120]}"
    raise ScoresError(f"{what}: not a known shape of scores", where=source.path, fix=_supported())


def _opened(path: Path) -> ScoreSource:
    if path.is_dir():
        return ScoreSource(path)
    if path.suffix.lower() not in TABLE_FORMATS:
        what = f"the ending {path.suffix!r} is not that of a score file ({', '.join(TABLE_FORMATS)})"
        raise ScoresError(what, where=path, fix=_supported())
    return read_table(path)


def _supported() -> str:
    return "supported are " + "; ".join(f"{reader.name}: {reader.shape}" for reader in READERS)
