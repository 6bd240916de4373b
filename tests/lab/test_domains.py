"""Each domain answers as worked out by hand."""

import numpy as np
import pytest

from geodiag.lab.domains import DOMAINS

BY_HAND = {
    "copy": ("jafb", "jafb"),
    "reverse": ("jafb", "bfaj"),
    "sort": ("jafb", "abfj"),
    "shift": ("jafb", "abgc"),
    "consonants": ("jaeb", "jb"),
    "add": ("340 102", "442"),
    "subtract": ("987 432", "555"),
    "maximum": ("309 287", "389"),
    "modulo": ("0548", "0212"),
    "count": ("abada", "3"),
    "retrieve": ("v3x0 xv", "x0v3"),
    "reverse_shift": ("jafb", "cgba"),
    "sort_reverse": ("jafb", "jfba"),
}


def test_there_are_fourteen_with_distinct_words():
    assert len(DOMAINS) == 14
    assert len({domain.word for domain in DOMAINS.values()}) == 14
    assert {domain.family for domain in DOMAINS.values()} == {"strings", "arithmetic", "lookup", "multistep"}


@pytest.mark.parametrize("name", BY_HAND)
def test_answers_by_hand(name):
    body, answer = BY_HAND[name]
    assert DOMAINS[name].answer(body) == answer


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
def test_the_documented_example_holds(domain):
    body, answer = domain.example
    assert domain.answer(body) == answer
    assert domain.prompt(body) == f"{domain.word} {body}="
    assert domain.target(body) == f"{answer}."


def test_a_fact_depends_on_the_entity_alone_and_facts_differ():
    facts = DOMAINS["facts"]
    assert facts.answer("00 cz") == facts.answer("99 cz")
    values = {facts.answer(f"00 {letter}{kind}") for letter in "abcdefghij" for kind in "xyz"}
    assert len(values) > 4


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
def test_bodies_look_like_the_example(domain):
    shape = "".join("d" if c.isdigit() else "l" if c.isalpha() else c for c in domain.example[0])
    rng = np.random.default_rng(3)
    for _ in range(50):
        body = domain.draw(rng)
        assert "".join("d" if c.isdigit() else "l" if c.isalpha() else c for c in body) == shape
        assert domain.answer(body)
