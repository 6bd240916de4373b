"""Examples in docstrings run and give what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import geodiag

PACKAGE = Path(geodiag.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("geodiag", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


def test_the_facade_has_examples():
    assert {"geodiag.api", "geodiag.paper", "geodiag.explain.explanation"} <= set(WITH_EXAMPLES)
