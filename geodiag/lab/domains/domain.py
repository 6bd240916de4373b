"""What a text domain is: how to draw a question, how to answer it, one worked example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy.random import Generator

LETTERS = "abcdefghij"
"""The letters of the string domains: few enough that a small model sees each of them often."""

DIGITS = "0123456789"


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
