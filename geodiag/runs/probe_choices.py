"""Multiple choice questions as probes: a prompt from a fixed template, the letter of the answer as target."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from geodiag.errors import ProbesError
from geodiag.runs.names import fold_task_name
from geodiag.runs.probe_source import Probe

CHOICE_FIELDS = ("category", "question", "options")
"""The columns that every question needs, beside `answer` or `answer_index`."""

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
        found = "empty" if value is None or isinstance(value, str) else f"{value!r}, not text"
        raise ProbesError(f"{key!r} is {found}", where=where, fix=f"give the {key} as text")
    return value.strip()


def _options(value: Any, where: str) -> list[str]:
    options = _split(value) if isinstance(value, str) else value
    if not isinstance(options, list) or not all(isinstance(option, str | int | float) for option in options):
        raise ProbesError(f"'options' is {str(value)[:60]!r}", where=where, fix=_OPTIONS_FIX)
    options = [str(option).strip() for option in options]
    if not 2 <= len(options) <= len(ascii_uppercase):
        what = f"'options' holds {len(options)} of them"
        raise ProbesError(what, where=where, fix=f"give 2 to {len(ascii_uppercase)}; {_OPTIONS_FIX}")
    return options


def _split(text: str) -> Any:
    """Options written as text: a list's source, or a line each."""
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
    what = f"'answer' is {str(value)[:60]!r}, none of {n} options" if value is not None else "'answer' is empty"
    raise ProbesError(what, where=where, fix=f"give a letter A to {letters[-1]}, or an index 0 to {n - 1}")
