"""Probe examples: what a task asks and the answer it wants, to take gradients on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geodiag.errors import ProbesError
from geodiag.runs.probe_source import LINE, Probe, text_probe
from geodiag.runs.probe_tables import read_parquet_probes


def load_probes(path: Path) -> tuple[Probe, ...]:
    """Read every probe of a file, in the file's order.

    Args:
        path: JSON lines (`.jsonl`, `.ndjson`) with the text keys `task`, `prompt` and `target`, others being
            ignored; or a `.parquet` with these columns, or with those of MMLU-Pro, whose rows become prompts as
            `geodiag.runs.probe_choices.choice_probe` says.

    Raises:
        ProbesError: the file cannot be read, is of another kind, is empty, or a line is wrong (it is named).
    """
    read = PROBE_FORMATS.get(path.suffix.lower())
    if read is None:
        what = f"unknown kind of probe file {path.suffix!r}"
        raise ProbesError(what, where=path, fix="give .jsonl with task, prompt, target, or MMLU-Pro style .parquet")
    probes = tuple(read(path))
    if not probes:
        raise ProbesError("holds no probes", where=path, fix=f"give one line an example: {LINE}")
    return probes


def choose_probes(
    probes: Iterable[Probe], tasks: Sequence[str], *, per_task: int | None, seed: int
) -> dict[str, tuple[Probe, ...]]:
    """The probes of some tasks that a seed draws, the same on every machine and in every process.

    Examples are ordered by a hash of their text, so the draw does not depend on the file's order, and a
    larger `per_task` keeps what a smaller one drew. An example that is there twice counts once.

    Args:
        probes: the examples of all tasks.
        tasks: the folded names of the tasks asked for.
        per_task: how many to draw from each; None takes all.
        seed: which draw.

    Returns:
        Task to examples in drawn order, for the tasks that have any, in the order of `tasks`.
    """
    drawn: dict[str, dict[str, Probe]] = {task: {} for task in tasks}
    for probe in probes:
        if probe.task in drawn:
            drawn[probe.task].setdefault(probe.digest(seed), probe)
    return {task: tuple(found[d] for d in sorted(found)[:per_task]) for task, found in drawn.items() if found}


def repeated_probes(probes: Iterable[Probe], tasks: Sequence[str]) -> int:
    """How many examples of `tasks` are there again and do not count."""
    counts = Counter(probe.digest(0) for probe in probes if probe.task in tasks)
    return sum(counts.values()) - len(counts)


def _read_json_lines(path: Path) -> Iterable[Probe]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield text_probe(_json_object(line, f"{path}:{number}"), where=f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise ProbesError(f"not UTF-8 text at byte {error.start}", where=path, fix="save it as UTF-8") from error
    except OSError as error:
        raise ProbesError(f"cannot be read ({error.strerror})", where=path) from error


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        raise ProbesError(f"not a line of JSON ({reason})", where=where, fix=f"write {LINE}") from error
    if not isinstance(record, dict):
        raise ProbesError(f"{line.strip()[:60]} is no JSON object", where=where, fix=f"write {LINE}")
    return record


PROBE_FORMATS: Mapping[str, Callable[[Path], Iterable[Probe]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": read_parquet_probes,
}
"""How a file is read, by its ending."""
