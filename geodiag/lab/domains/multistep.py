"""Multi-step domains: two string operations, one after the other."""

from __future__ import annotations

from geodiag.lab.domains.domain import Domain
from geodiag.lab.domains.strings import ascending, four_letters, reverse, shift

MULTISTEP = (
    Domain(
        "reverse_shift", "rvs", "multistep", "write each letter's successor, backwards", ("gfhg", "high"),
        four_letters, lambda body: shift(reverse(body)),
    ),
    Domain(
        "sort_reverse", "dsc", "multistep", "write the letters in falling order", ("abdc", "dcba"),
        four_letters, lambda body: reverse(ascending(body)),
    ),
)  # fmt: skip
