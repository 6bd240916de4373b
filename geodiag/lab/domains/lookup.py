"""Lookup domains: facts that must be known by heart, and pairs that stand in the prompt."""

from __future__ import annotations

from hashlib import sha256

from numpy.random import Generator

from geodiag.lab.domains.domain import DIGITS, LETTERS, Domain, draw_text

KINDS = "xyz"
VALUES = "klmnopqr"


def tagged_entity(rng: Generator) -> str:
    """A number that says nothing, and one of thirty entities (a letter and a kind).

    Held-out items ask about known entities under numbers not seen with them: a fact that was never shown
    cannot be known.
    """
    tag = draw_text(rng, length=2, alphabet=DIGITS)
    return f"{tag} {draw_text(rng, length=1)}{draw_text(rng, length=1, alphabet=KINDS)}"


def invented_fact(body: str) -> str:
    """The entity's value, fixed for good by a hash of its name."""
    entity = body.split(" ")[1]
    return VALUES[sha256(entity.encode()).digest()[0] % len(VALUES)]


def pairs_and_key(rng: Generator) -> str:
    """Three letters with a digit each, and one of the letters."""
    keys = [LETTERS[i] for i in rng.permutation(len(LETTERS))[:3]]
    pairs = "".join(key + draw_text(rng, length=1, alphabet=DIGITS) for key in keys)
    return f"{pairs} {keys[rng.integers(3)]}"


def pair_of_key(body: str) -> str:
    """The key and the digit that follows it in the pairs."""
    pairs, key = body.split(" ")
    return key + pairs[pairs.index(key) + 1]


LOOKUP = (
    Domain(
        "facts", "fct", "lookup", "the invented value of an entity; the number is noise", ("33 cz", "o"),
        tagged_entity, invented_fact, classes=True,
    ),
    Domain(
        "retrieve", "get", "lookup", "the key's pair among the pairs of the prompt", ("i8d1j6 d", "d1"),
        pairs_and_key, pair_of_key,
    ),
)  # fmt: skip
