"""Tables as files: a CSV each, and one page to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geodiag.store import StoreReader
from geodiag.tables.compute import compute_all
from geodiag.tables.options import Options


def write_tables(
    store: StoreReader,
    out: str | Path,
    options: Options | None = None,
    *,
    compare_paper: bool = False,
    only: Iterable[str] | None = None,
) -> list[Path]:
    """Write every table that the store allows.

    Returns:
        The files written.
    """
    found = compute_all(store, options, only)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, frame in found.frames.items():
        paths.append(folder / f"{name}.csv")
        frame.write_csv(paths[-1])
    return paths
