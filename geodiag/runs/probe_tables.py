"""Probe files in Parquet: plain ones, and multiple choice questions in the style of MMLU-Pro."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from geodiag.errors import ProbesError
from geodiag.runs.probe_choices import CHOICE_FIELDS, choice_probe
from geodiag.runs.probe_source import FIELDS, Probe, text_probe


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
        what = f"columns are {', '.join(frame.columns[:12])}"
        fix = f"give {', '.join(FIELDS)}, or {', '.join(CHOICE_FIELDS)} and answer or answer_index"
        raise ProbesError(what, where=path, fix=fix)
    make = text_probe if columns >= set(FIELDS) else choice_probe
    for number, record in enumerate(frame.iter_rows(named=True), start=1):
        if any(value is not None for value in record.values()):
            yield make(record, where=f"{path}, row {number}")
