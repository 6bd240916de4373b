"""The outcomes table of data/lab/README.md, from the store beside it: `python scripts/lab_table.py [--out FILE]`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import polars as pl

import geodiag

COLUMNS = {
    "final_overall": "final overall",
    "old_mean": "old-task mean",
    "forgetting": "forgetting",
    "OP": "OP",
    "BWT": "BWT",
}
METHODS = ("Seq. SFT", "EWC", "FOREVER", "AIMMerging")


def main() -> None:
    """Write means over seeds, with half the distance between the seeds behind the sign, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a file; standard output by default")
    out = parser.parse_args().out
    text = "\n".join(lines(geodiag.load_example("lab").outcomes()))
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


def lines(runs: pl.DataFrame) -> Iterator[str]:
    """The lines of the table: a row a size and method, then the methods over all sizes."""
    yield "| size | method | " + " | ".join(COLUMNS.values()) + " |"
    yield "| --- | --- |" + " ---: |" * len(COLUMNS)
    sizes = sorted(runs["size"].unique().to_list(), key=lambda size: float(size.removesuffix("M")))
    for size in [*sizes, None]:
        for method in METHODS:
            rows = runs.filter(pl.col("method") == method)
            rows = rows if size is None else rows.filter(pl.col("size") == size)
            cells = [cell(rows, column, spread=size is not None) for column in COLUMNS]
            yield f"| {size or 'all'} | {method} | " + " | ".join(cells) + " |"


def cell(rows: pl.DataFrame, column: str, *, spread: bool) -> str:
    """`mean ± half range` over the rows."""
    values = rows[column]
    mean = values.mean()
    half = (values.max() - values.min()) / 2
    return f"{mean:.3f} ± {half:.3f}" if spread else f"{mean:.3f}"


if __name__ == "__main__":
    main()
