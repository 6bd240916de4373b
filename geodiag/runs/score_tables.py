"""Score files as plain tables: every cell with the place it came from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from geodiag.errors import ScoresError
from geodiag.runs.score_source import Row, ScoreSource


def read_table(path: Path) -> ScoreSource:
    """Read a CSV, TSV or Parquet file without reading meaning into it.

    Args:
        path: the file; its ending says what it is.

    Raises:
        ScoresError: the file cannot be read, rows differ in length, or two columns share a name.
    """
    table = TABLE_FORMATS[path.suffix.lower()](path)
    repeated = {name for name in table.columns if table.columns.count(name) > 1}
    if repeated:
        what = f"two columns are named {min(repeated)!r}"
        raise ScoresError(what, where=path, fix="give each column its own name")
    if not table.rows:
        raise ScoresError("holds no scores", where=path, fix="add one row a score, or one row a step")
    return table


def _read_separated(path: Path) -> ScoreSource:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=header.count), strict=True)
            rows = [(lines.line_num, line) for line in lines if any(cell.strip() for cell in line)]
    except UnicodeDecodeError as error:
        raise ScoresError(f"not UTF-8 text at byte {error.start}", where=path, fix="save it as UTF-8") from error
    except OSError as error:
        raise ScoresError(f"cannot be read ({error.strerror})", where=path) from error
    except csv.Error as error:
        raise ScoresError(f"not a CSV file ({error})", where=path) from error
    if not rows:
        raise ScoresError("the file is empty", where=path)
    columns = tuple(name.strip() for name in rows[0][1])
    return _without_index(path, columns, [Row(f"{path}:{line}", _cells(cells)) for line, cells in rows[1:]])


def _cells(cells: list[str]) -> tuple[str | None, ...]:
    return tuple(cell.strip() or None for cell in cells)


def _without_index(path: Path, columns: tuple[str, ...], rows: list[Row]) -> ScoreSource:
    """Drop the nameless first column that pandas writes for its index; refuse ragged rows."""
    for row in rows:
        if len(row.cells) != len(columns):
            what = f"{len(row.cells)} cells where the header has {len(columns)}"
            raise ScoresError(what, where=row.where, fix="give each row one cell a column")
    start = 1 if columns[0] == "" else 0
    if "" in columns[start:]:
        what = f"column {columns.index('', start) + 1} has no name"
        raise ScoresError(what, where=path, fix="name it in the first row, or drop it")
    return ScoreSource(path, columns[start:], tuple(Row(row.where, row.cells[start:]) for row in rows))


def _read_parquet(path: Path) -> ScoreSource:
    # pyarrow rather than polars, which panics on a damaged file and prints its stack before it raises.
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        cells = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise ScoresError(f"not a readable Parquet file ({reason})", where=path) from error
    rows = (Row(f"{path}, row {number}", row) for number, row in enumerate(cells, start=1))
    return ScoreSource(path, tuple(table.column_names), tuple(row for row in rows if _filled(row)))


def _filled(row: Row) -> bool:
    return any(cell is not None for cell in row.cells)


TABLE_FORMATS: Mapping[str, Callable[[Path], ScoreSource]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".parquet": _read_parquet,
}
"""How a file is read, by its ending."""
