"""The published numbers that come with the package."""

from __future__ import annotations

import re

import polars as pl
import pytest

from geodiag.errors import SettingsError
from geodiag.paper import PAIR_ROWS, RUNS, STEP_ROWS, list_paper, load_paper


def test_every_published_table_loads_and_has_rows() -> None:
    assert len(list_paper()) == 22
    for name in list_paper():
        assert load_paper(name).height >= 2
        assert not any(load_paper(name).null_count().row(0)), name


def test_a_table_is_found_by_its_number() -> None:
    assert load_paper("table04").equals(load_paper("table04_scale_confidence"))


@pytest.mark.parametrize(
    ("name", "where", "column", "value"),
    [
        ("table03", {"signal": "global_gap"}, "spearman", -0.59),
        ("table04", {"size": "14B", "signal": "state_gap"}, "ci_low", -0.87),
        ("table13", {"method": "EWC"}, "median_sar", 0.57),
        ("table18", {"ranking": "top_negative_gradient"}, "k_proj", 0.47),
        ("table21", {"size": "4B", "method": "EWC"}, "forgetting", -0.110),
    ],
)
def test_numbers_are_those_of_the_paper(name: str, where: dict[str, str], column: str, value: float) -> None:
    assert (
        load_paper(name).row(by_predicate=pl.all_horizontal(pl.col(k) == v for k, v in where.items()), named=True)[
            column
        ]
        == value
    )


def test_counts_are_those_the_tables_state() -> None:
    assert load_paper("table03")["n"].unique().to_list() == [STEP_ROWS]
    assert load_paper("table06")["n"].unique().to_list() == [PAIR_ROWS] == [load_paper("table13")["n"].sum()]
    assert load_paper("table21").height == RUNS


@pytest.mark.parametrize("name", ["table4", "table", "", "table99", "fig1"])
def test_a_missing_name_lists_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"no published table {name!r}; one of: fig10_seq_sft")) as error:
        load_paper(name)
    assert all(known in str(error.value) for known in list_paper())
    assert "\n" not in str(error.value)
