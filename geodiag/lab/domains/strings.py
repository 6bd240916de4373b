"""String domains: a few letters in, letters out; they share copying and differ in the order or the letters."""

from __future__ import annotations

from numpy.random import Generator

from geodiag.lab.domains.domain import LETTERS, Domain, draw_text

VOWELS = "aei"
"""The vowels among `LETTERS`."""


def four_letters(rng: Generator) -> str:
    """The body of every string domain."""
    return draw_text(rng, length=4)


def reverse(body: str) -> str:
    """The letters from last to first."""
    return body[::-1]


def ascending(body: str) -> str:
    """The letters in alphabetical order."""
    return "".join(sorted(body))


def shift(body: str) -> str:
    """Each letter replaced by the next one of the alphabet; the last by the first."""
    return "".join(LETTERS[(LETTERS.index(letter) + 1) % len(LETTERS)] for letter in body)


def consonants(body: str) -> str:
    """The letters without a, e and i."""
    return "".join(letter for letter in body if letter not in VOWELS)


STRINGS = (
    Domain(
        "copy", "cpy", "strings", "write the letters again", ("gbha", "gbha"), four_letters, str
    ),
    Domain(
        "reverse", "rev", "strings", "write the letters backwards", ("gbha", "ahbg"), four_letters, reverse
    ),
    Domain(
        "sort", "srt", "strings", "write the letters in alphabetical order", ("gbha", "abgh"),
        four_letters, ascending,
    ),
    Domain(
        "shift", "sft", "strings", "write each letter's successor, a after j", ("gbja", "hcab"),
        four_letters, shift,
    ),
    Domain(
        "consonants", "cns", "strings", "leave out the vowels a, e and i", ("gbea", "gb"),
        four_letters, consonants,
    ),
)  # fmt: skip
