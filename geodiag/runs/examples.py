"""Probe examples of tasks (prompt, target): JSONL, Parquet and multiple choice."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import polars as pl

from geodiag.errors import ProbesError
from geodiag.runs.manifest import fold_task_name

FIELDS = ("task", "prompt", "target")
"""The keys of one probe in a file; their values are text."""

PROBE_LINE = '{"task": "...", "prompt": "...", "target": "..."}'
"""One line of a probe file, as an error shows it."""


@dataclass(frozen=True)
class Probe:
    """One example of a task."""

    task: str
    """The task's folded name."""
    prompt: str
    """The text before the answer, on which no loss is taken; may be empty."""
    target: str
    """The answer, on which the loss is taken."""
    where: str
    """`file:line`, or `file, row n` where a file has no lines."""

    def digest(self, seed: int) -> str:
        """A hash of the example's text and a seed, by which examples are ordered in the same way on every machine."""
        text = json.dumps([seed, self.task, self.prompt, self.target])
        return hashlib.sha256(text.encode()).hexdigest()


def text_probe(record: Mapping[str, Any], *, where: str) -> Probe:
    """A probe from a record with the keys of `FIELDS`.

    Raises:
        ProbesError: a key is missing, is no text, or is empty where text is needed.
    """
    for key in FIELDS:
        if key not in record:
            raise ProbesError(f"no key {key!r}", where=where, fix=f"write {PROBE_LINE}")
        if not isinstance(record[key], str):
            problem = f"{key!r} is {json.dumps(record[key], default=str)[:60]}, not text"
            raise ProbesError(problem, where=where, fix=f"write {PROBE_LINE}")
    task, prompt, target = (record[key] for key in FIELDS)
    if not fold_task_name(task).strip("_"):
        raise ProbesError("'task' is empty", where=where, fix="name the task as in run.yaml")
    if not target.strip():
        raise ProbesError("'target' is empty", where=where, fix="give the answer that the loss is taken on")
    return Probe(fold_task_name(task), prompt, target, where)


CHOICE_FIELDS = ("category", "question", "options")
"""The columns that every multiple-choice question needs, with `answer` or `answer_index`."""

TEMPLATE = """\
This is a multiple choice question about {category}. Answer with the letter of the right option.

Question: {question}
Options:
{options}
Answer: """
"""The prompt of a question; each option is a line `A. text`. The target is the letter alone."""

_OPTIONS_FIX = "give a list of at least two texts, or one text with an option a line"


def choice_probe(record: Mapping[str, Any], *, where: str) -> Probe:
    """A probe from one row of an MMLU-Pro style table.

    Args:
        record: `category` (the task), `question`, `options` (a list; or text: a JSON or Python list, or one
            option a line, with or without its letter) and the right one, as a letter or an index from 0, in
            `answer` or else in `answer_index`. Other keys are ignored.
        where: the place of the row, for errors.

    Raises:
        ProbesError: a value is missing or empty, the options are no list, or the answer is none of them.
    """
    category, question = (_text(record, key, where) for key in CHOICE_FIELDS[:2])
    options = _options(record["options"], where)
    letter = _letter(record, len(options), where)
    lines = "\n".join(f"{name}. {option}" for name, option in zip(ascii_uppercase, options, strict=False))
    prompt = TEMPLATE.format(category=category, question=question, options=lines)
    return Probe(fold_task_name(category), prompt, letter, where)


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record[key]
    if not isinstance(value, str) or not fold_task_name(value).strip("_"):
        state = "empty" if value is None or isinstance(value, str) else f"{value!r}, not text"
        raise ProbesError(f"{key!r} is {state}", where=where, fix=f"give the {key} as text")
    return value.strip()


def _options(value: Any, where: str) -> list[str]:
    options = _split(value) if isinstance(value, str) else value
    if not isinstance(options, list) or not all(isinstance(option, str | int | float) for option in options):
        raise ProbesError(f"'options' is {str(value)[:60]!r}", where=where, fix=_OPTIONS_FIX)
    options = [str(option).strip() for option in options]
    if not 2 <= len(options) <= len(ascii_uppercase):
        problem = f"'options' holds {len(options)} of them"
        raise ProbesError(problem, where=where, fix=f"give 2 to {len(ascii_uppercase)}; {_OPTIONS_FIX}")
    return options


def _split(text: str) -> Any:
    """The options in a text: a JSON or Python list, or one option a line; None where a list cannot be parsed."""
    if text.lstrip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(text.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        return None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    labelled = [
        re.fullmatch(rf"\(?{name}[.):]\s*(.*)", line) for name, line in zip(ascii_uppercase, lines, strict=False)
    ]
    return [match[1] for match in labelled if match] if all(labelled) else lines


def _letter(record: Mapping[str, Any], n: int, where: str) -> str:
    key = "answer" if record.get("answer") is not None else "answer_index"
    value = record.get(key)
    letters = ascii_uppercase[:n]
    shown = str(value).strip().upper().strip("().") if value is not None and not isinstance(value, bool) else ""
    if len(shown) == 1 and shown in letters:
        return shown
    if re.fullmatch(r"\d{1,2}(\.0)?", shown) and float(shown) < n:
        return letters[int(float(shown))]
    problem = f"'answer' is {str(value)[:60]!r}, none of {n} options" if value is not None else "'answer' is empty"
    raise ProbesError(problem, where=where, fix=f"give a letter A to {letters[-1]}, or an index 0 to {n - 1}")


def read_parquet_probes(path: Path) -> Iterator[Probe]:
    """The probes of a Parquet file, in its order; rows with nothing in them are left out.

    Raises:
        ProbesError: the file cannot be read, has neither set of columns, or a row is wrong (it is named).
    """
    try:
        frame = pl.read_parquet(path, hive_partitioning=False, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise ProbesError(f"not a readable Parquet file ({reason})", where=path) from error
    columns = set(frame.columns)
    if not columns >= set(FIELDS) and not columns >= set(CHOICE_FIELDS):
        problem = f"columns are {', '.join(frame.columns[:12])}"
        fix = f"give {', '.join(FIELDS)}, or {', '.join(CHOICE_FIELDS)} and answer or answer_index"
        raise ProbesError(problem, where=path, fix=fix)
    make = text_probe if columns >= set(FIELDS) else choice_probe
    for number, record in enumerate(frame.iter_rows(named=True), start=1):
        if any(value is not None for value in record.values()):
            yield make(record, where=f"{path}, row {number}")


def load_probes(path: Path) -> tuple[Probe, ...]:
    """Read every probe of a file, in the file's order.

    Args:
        path: JSON lines (`.jsonl`, `.ndjson`) with the text keys `task`, `prompt` and `target`, others being
            ignored; or a `.parquet` with these columns, or with those of MMLU-Pro, whose rows become prompts as
            `geodiag.runs.examples.choice_probe` says.

    Raises:
        ProbesError: the file cannot be read, is of another kind, is empty, or a line is wrong (it is named).
    """
    read = PROBE_FORMATS.get(path.suffix.lower())
    if read is None:
        problem = f"unknown kind of probe file {path.suffix!r}"
        raise ProbesError(problem, where=path, fix="give .jsonl with task, prompt, target, or MMLU-Pro style .parquet")
    probes = tuple(read(path))
    if not probes:
        raise ProbesError("holds no probes", where=path, fix=f"give one line an example: {PROBE_LINE}")
    return probes


def choose_probes(
    probes: Iterable[Probe], tasks: Sequence[str], *, per_task: int | None, seed: int
) -> dict[str, tuple[Probe, ...]]:
    """Draw probes of some tasks with a seed, the same ones on every machine and in every process.

    Examples are ordered by a hash of their text, so the draw does not depend on the file's order, and a
    larger `per_task` keeps those that a smaller one drew. An example that is there twice counts once.

    Args:
        probes: the examples of all tasks.
        tasks: the folded names of the tasks asked for.
        per_task: the number to draw from each; None takes all.
        seed: the seed of the draw.

    Returns:
        Task to examples in drawn order, for the tasks that have any, in the order of `tasks`.
    """
    drawn: dict[str, dict[str, Probe]] = {task: {} for task in tasks}
    for probe in probes:
        if probe.task in drawn:
            drawn[probe.task].setdefault(probe.digest(seed), probe)
    return {
        task: tuple(by_digest[d] for d in sorted(by_digest)[:per_task])
        for task, by_digest in drawn.items()
        if by_digest
    }


def repeated_probes(probes: Iterable[Probe], tasks: Sequence[str]) -> int:
    """The number of examples of `tasks` that repeat another one and so do not count."""
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
        raise ProbesError(f"not a line of JSON ({reason})", where=where, fix=f"write {PROBE_LINE}") from error
    if not isinstance(record, dict):
        raise ProbesError(f"{line.strip()[:60]} is no JSON object", where=where, fix=f"write {PROBE_LINE}")
    return record


PROBE_FORMATS: Mapping[str, Callable[[Path], Iterable[Probe]]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": read_parquet_probes,
}
"""The reader of a probe file, by its ending."""
