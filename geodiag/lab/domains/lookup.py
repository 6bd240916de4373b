"""Lookup domains: facts that must be known by heart, and pairs that stand in the prompt."""

from __future__ import annotations

from hashlib import sha256

from numpy.random import Generator

from geodiag.lab.domains.domain import DIGITS, Domain, draw_text

KINDS = "xyz"
VALUES = "klmnopqr"
KEYS = "uvwx"


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


def pairs_and_keys(rng: Generator) -> str:
    """Two of four letters with a digit each, then the two letters in either order."""
    keys = [KEYS[i] for i in rng.permutation(len(KEYS))[:2]]
    pairs = "".join(key + draw_text(rng, length=1, alphabet=DIGITS) for key in keys)
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
