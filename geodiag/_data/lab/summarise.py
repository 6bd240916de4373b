"""The table of this folder's README, from its store: `python data/lab/summarise.py`."""

from __future__ import annotations

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
    """Prints means over seeds, with half the distance between the seeds behind the sign."""
    runs = geodiag.load_example("lab").outcomes()
    print("| size | method | " + " | ".join(COLUMNS.values()) + " |")
    print("| --- | --- |" + " ---: |" * len(COLUMNS))
    sizes = sorted(runs["size"].unique().to_list(), key=lambda size: float(size.removesuffix("M")))
    for size in [*sizes, None]:
        for method in METHODS:
            rows = runs.filter(pl.col("method") == method)
            rows = rows if size is None else rows.filter(pl.col("size") == size)
            cells = [cell(rows, column, spread=size is not None) for column in COLUMNS]
            print(f"| {size or 'all'} | {method} | " + " | ".join(cells) + " |")


def cell(rows: pl.DataFrame, column: str, *, spread: bool) -> str:
    """`mean ± half range` over the rows."""
    values = rows[column]
    mean = values.mean()
    half = (values.max() - values.min()) / 2
    return f"{mean:.3f} ± {half:.3f}" if spread else f"{mean:.3f}"


if __name__ == "__main__":
    main()
