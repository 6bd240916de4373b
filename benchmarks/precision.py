"""What the default arithmetic costs in digits: every stored number against the same run in float64 throughout."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.models import QWEN3_06B, write_run
from benchmarks.processes import aside, extract_command, measure

KEYS = {"pairs": ("step", "layer", "object_i", "object_j"), "updates": ("step", "layer", "object")}
"""What names a row."""


def main() -> None:
    """Prints, for one block of Qwen3-0.6B's shapes at T = 6, how far each column is off at most."""
    print(
        "largest relative difference from --spectrum exact (float64), T = 6, one block of Qwen3-0.6B shapes, bfloat16"
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "T6"
        aside(partial(write_run, steps=6), run, QWEN3_06B)
        for name, more in (("default", ()), ("exact", ("--spectrum", "exact"))):
            measure(*extract_command(str(run), f"{folder}/{name}"), *more)
        for table, keys in KEYS.items():
            for column, (rows, most) in differences(Path(folder), table, keys).items():
                print(f"{table:>8} {column:<16} {most:.1e} ({rows} rows)", flush=True)


def differences(folder: Path, table: str, keys: tuple[str, ...]) -> dict[str, tuple[int, float]]:
    """By column of numbers: how many rows have one, and the largest relative difference between the two stores."""
    from geodiag.store import StoreReader

    ours, exact = (StoreReader(folder / name).scan(table).collect() for name in ("default", "exact"))
    both = ours.join(exact, on=keys, suffix="_exact", validate="1:1")
    if not len(both) == len(ours) == len(exact):
        raise RuntimeError(f"{table}: rows differ")
    found = {}
    for column in (c for c in ours.columns if c not in keys and ours[c].dtype.is_numeric()):
        off = (both[column] - both[f"{column}_exact"]).abs() / both[f"{column}_exact"].abs()
        known = off.filter(off.is_finite() & off.is_not_null())
        found[column] = (len(known), float(known.max() if len(known) else 0.0))
    return found


if __name__ == "__main__":
    main()
