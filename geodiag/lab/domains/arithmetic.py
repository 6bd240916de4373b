"""Arithmetic domains: digits in, digits out, position by position, and one that counts."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from geodiag.lab.domains.domain import DIGITS, Domain, draw_text

MODULUS = 3
SMALL, LARGE = "01234", "56789"
COUNTED = "a"
"""The letter of the counting domain; drawn twice as often as any other."""


def two_numbers(rng: Generator) -> str:
    """Two numbers of three digits."""
    return f"{draw_text(rng, length=3, alphabet=DIGITS)} {draw_text(rng, length=3, alphabet=DIGITS)}"


def without_carry(rng: Generator) -> str:
    """Two numbers of three digits from 0 to 4, so that no column carries."""
    return f"{draw_text(rng, length=3, alphabet=SMALL)} {draw_text(rng, length=3, alphabet=SMALL)}"


def without_borrow(rng: Generator) -> str:
    """A number of digits from 5 to 9 and one of digits from 0 to 4, so that no column borrows."""
    return f"{draw_text(rng, length=3, alphabet=LARGE)} {draw_text(rng, length=3, alphabet=SMALL)}"


def one_number(rng: Generator) -> str:
    """One number of four digits."""
    return draw_text(rng, length=4, alphabet=DIGITS)


def letters_to_count(rng: Generator) -> str:
    """Five letters of a to f."""
    return draw_text(rng, length=5, alphabet="abcdef" + COUNTED)


def columnwise(operation: Callable[[int, int], int]) -> Callable[[str], str]:
    """An operation applied to each column of two numbers."""

    def answer(body: str) -> str:
        first, second = body.split(" ")
        return "".join(str(operation(int(a), int(b))) for a, b in zip(first, second, strict=True))

    return answer


def remainders(body: str) -> str:
    """Each digit's remainder by three."""
    return "".join(str(int(digit) % MODULUS) for digit in body)


def occurrences(body: str) -> str:
    """How many letters are a."""
    return str(body.count(COUNTED))


ARITHMETIC = (
    Domain(
        "add", "add", "arithmetic", "add two numbers of digits up to 4", ("341 204", "545"),
        without_carry, columnwise(lambda a, b: a + b),
    ),
    Domain(
        "subtract", "sub", "arithmetic", "subtract a number of digits up to 4", ("857 421", "436"),
        without_borrow, columnwise(lambda a, b: a - b),
    ),
    Domain(
        "maximum", "max", "arithmetic", "the larger digit of each column", ("231 443", "443"),
        two_numbers, columnwise(max),
    ),
    Domain(
        "modulo", "mod", "arithmetic", "each digit's remainder by three", ("9587", "0221"),
        one_number, remainders,
    ),
    Domain(
        "count", "cnt", "arithmetic", "how many letters are a", ("abfac", "2"),
        letters_to_count, occurrences, classes=True,
    ),
)  # fmt: skip
