"""Folders of evaluation results: the step of each file, and which results count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from geodiag.errors import ScoresError
from geodiag.runs.manifest import Manifest
from geodiag.runs.scores.lm_eval import read_results
from geodiag.runs.scores.opencompass import read_summary
from geodiag.runs.scores.source import RawScore, ResultsFile, ScoreSource
from geodiag.runs.scores.steps import StepResult, raw_scores, result_notes, step_of_model, step_of_name, step_results

_PATTERNS: Mapping[str, Callable[[Path], ResultsFile]] = {"results*.json": read_results, "summary_*.csv": read_summary}
"""Names of files with results, and what reads them."""


def is_folder(source: ScoreSource) -> bool:
    """Whether a source is a folder with results in it."""
    return source.path.is_dir() and any(True for _ in _files(source.path))


def read_folder(source: ScoreSource, manifest: Manifest) -> list[RawScore]:
    """The scores in a folder of results; tasks that are not trained and have no clear metric are left out.

    Raises:
        ScoresError: a file cannot be read, its step is unknown, or a trained task's metric is not clear.
    """
    return raw_scores(_counting(_by_step(source, manifest), manifest), manifest)


def folder_notes(source: ScoreSource, manifest: Manifest) -> list[str]:
    """What a person should know of a folder's results, one sentence each: what was passed over, and what differs.

    Raises:
        ScoresError: as `read_folder`.
    """
    files = _by_step(source, manifest)
    return [*_repeat_notes(files, manifest), *result_notes(_counting(files, manifest), manifest)]


def _by_step(source: ScoreSource, manifest: Manifest) -> list[tuple[int, ResultsFile]]:
    """The files with their steps, those of a step with the newest first."""
    files = []
    for file, read in _files(source.path):
        found = read(file)
        files.append((_step(file, source.path, found, manifest), found))
    newest_first = sorted(files, key=lambda item: item[1].written, reverse=True)
    return sorted(newest_first, key=lambda item: item[0])


def _counting(files: list[tuple[int, ResultsFile]], manifest: Manifest) -> list[StepResult]:
    """The results that count: of a task that several files have at a step, the newest one's."""
    newest: dict[tuple[int, str], str] = {}
    return [
        found
        for step, file in files
        for found in step_results(step, file.tasks, manifest)
        if newest.setdefault((step, found.task), file.where) == file.where
    ]


def _files(folder: Path) -> Iterator[tuple[Path, Callable[[Path], ResultsFile]]]:
    for pattern, read in _PATTERNS.items():
        for file in sorted(folder.rglob(pattern)):
            yield file, read


def _step(file: Path, folder: Path, found: ResultsFile, manifest: Manifest) -> int:
    for name in file.relative_to(folder).parts[:-1]:
        step = step_of_name(name, manifest)
        if step is not None:
            return step
    step = step_of_model(found.models, manifest)
    if step is None:
        fix = "put each step's results into a folder `step_N` (`step_0` or `base` for the base)"
        raise ScoresError("neither its folder nor its model says which step it is of", where=file, fix=fix)
    return step


def _repeat_notes(files: list[tuple[int, ResultsFile]], manifest: Manifest) -> Iterator[str]:
    where: dict[tuple[int, str], list[str]] = {}
    for step, file in files:
        for found in step_results(step, file.tasks, manifest):
            where.setdefault((step, found.task), []).append(file.where)
    repeated = {key: names for key, names in where.items() if len(set(names)) > 1}
    if repeated:
        (step, task), names = min(repeated.items())
        count = "1 score stands" if len(repeated) == 1 else f"{len(repeated)} scores stand"
        yield f"{count} in several files; the newest counts, as at step {step}, task {task}: {names[0]}"
