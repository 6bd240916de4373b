"""Text domains of the lab: a generator of questions and answers each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from numpy.random import Generator

LETTERS = "abcdefghij"
"""The letters of the string domains: few enough that a small model sees each of them often."""

DIGIT_LETTERS = "0123456789"


def draw_text(rng: Generator, *, length: int, alphabet: str = LETTERS) -> str:
    """A string of `length` characters, each drawn uniformly from `alphabet`."""
    return "".join(alphabet[i] for i in rng.integers(len(alphabet), size=length))


@dataclass(frozen=True)
class Domain:
    """A family of questions with one right answer each, asked as `<word> <body>=` and answered `<answer>.`."""

    name: str
    """The task's name in runs and score files."""
    word: str
    """The task word that opens every prompt, so that one model can tell the domains apart."""
    family: str
    """Domains of one family share what they need (strings, arithmetic, lookup, multistep)."""
    about: str
    """What is asked, in a clause."""
    example: tuple[str, str]
    """One body and its answer, worked out by hand."""
    draw: Callable[[Generator], str]
    """A random body."""
    answer: Callable[[str], str]
    """The right answer to a body."""
    classes: bool = False
    """Whether the answers are classes (few, so that a memory can hold one item of each)."""

    def prompt(self, body: str) -> str:
        """The prompt of a body: `<word> <body>=`."""
        return f"{self.word} {body}="

    def target(self, body: str) -> str:
        """The text a model should write after the prompt; the dot says where it ends."""
        return f"{self.answer(body)}."


def named(domains: Sequence[Domain]) -> dict[str, Domain]:
    """The domains by name."""
    return {domain.name: domain for domain in domains}


MODULUS = 3
LOW_DIGITS, HIGH_DIGITS = "01234", "56789"
COUNTED = "a"
"""The letter of the counting domain; drawn twice as often as any other."""


def two_numbers(rng: Generator) -> str:
    """Two numbers of three digits."""
    return f"{draw_text(rng, length=3, alphabet=DIGIT_LETTERS)} {draw_text(rng, length=3, alphabet=DIGIT_LETTERS)}"


def without_carry(rng: Generator) -> str:
    """Two numbers of three digits from 0 to 4, so that no column carries."""
    return f"{draw_text(rng, length=3, alphabet=LOW_DIGITS)} {draw_text(rng, length=3, alphabet=LOW_DIGITS)}"


def without_borrow(rng: Generator) -> str:
    """A number of digits from 5 to 9 and one of digits from 0 to 4, so that no column borrows."""
    return f"{draw_text(rng, length=3, alphabet=HIGH_DIGITS)} {draw_text(rng, length=3, alphabet=LOW_DIGITS)}"


def one_number(rng: Generator) -> str:
    """One number of four digits."""
    return draw_text(rng, length=4, alphabet=DIGIT_LETTERS)


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


KINDS = "xyz"
VALUES = "klmnopqr"
KEYS = "uvwx"


def tagged_entity(rng: Generator) -> str:
    """A number that says nothing, and one of thirty entities (a letter and a kind).

    Held-out items ask about known entities under numbers not seen with them: a fact that was never shown
    cannot be known.
    """
    tag = draw_text(rng, length=2, alphabet=DIGIT_LETTERS)
    return f"{tag} {draw_text(rng, length=1)}{draw_text(rng, length=1, alphabet=KINDS)}"


def invented_fact(body: str) -> str:
    """The entity's value, fixed for good by a hash of its name."""
    entity = body.split(" ")[1]
    return VALUES[sha256(entity.encode()).digest()[0] % len(VALUES)]


def pairs_and_keys(rng: Generator) -> str:
    """Two of four letters with a digit each, then the two letters in either order."""
    keys = [KEYS[i] for i in rng.permutation(len(KEYS))[:2]]
    pairs = "".join(key + draw_text(rng, length=1, alphabet=DIGIT_LETTERS) for key in keys)
    return f"{pairs} {''.join(rng.permutation(keys))}"


def pairs_of_keys(body: str) -> str:
    """Each key with the digit that follows it in the pairs."""
    pairs, keys = body.split(" ")
    return "".join(key + pairs[pairs.index(key) + 1] for key in keys)


LOOKUP = (
    Domain(
        "facts", "fct", "lookup", "the invented value of an entity; the number is noise", ("33 cz", "o"),
        tagged_entity, invented_fact, classes=True,
    ),
    Domain(
        "retrieve", "get", "lookup", "each key with its digit from the prompt's pairs", ("w8u1 uw", "u1w8"),
        pairs_and_keys, pairs_of_keys,
    ),
)  # fmt: skip


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


DOMAINS: dict[str, Domain] = named((*STRINGS, *ARITHMETIC, *LOOKUP, *MULTISTEP))
"""The fourteen text domains, generated from a seed."""
