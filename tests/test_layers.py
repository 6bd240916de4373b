"""Layers: imports go one way and in no circle, files and functions stay short, a name has one meaning."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.import_graph import (
    PACKAGE,
    cycles,
    drawing,
    functions,
    graph,
    imported,
    layer,
    layer_graph,
    length,
    modules,
    public_names,
    sources,
)

ORDER = (
    *("errors", "common", "stats"),
    *("runs", "checkpoints", "geometry", "models", "extraction", "store", "jobs", "options"),
    *("signals",),
    *("paper", "tables", "figures", "explain", "report"),
    *("api", "geodiag", "console", "demo", "typer_commands", "cli", "__main__"),
)
"""Left to right: a module imports only from its own layer and from layers to its left."""
BESIDE = {"lab": "jobs", "merging": "jobs", "comparison": "geometry"}
"""Packages that make runs or need none: they may import what stands left of, and with, the layer named."""
IMPORTERS = {"lab": {"demo", "cli"}, "merging": {"api", "cli"}, "comparison": {"api", "cli"}}
"""The layers that may import them."""

MODULES = 210
"""At most, less the folders of measurements and the models they run: each measurement brings its own."""
APART = ("geodiag.extraction.measurements.", "geodiag.models.")
LINES = 400
LONG_FUNCTIONS, LINES_OF_A_FUNCTION = 11, 30

SHARED_NAMES = {
    **dict.fromkeys(
        ("analyze", "check", "diff", "explain", "extract", "merge"), "a command and its function of the API"
    ),
}
"""Public names that two modules define on purpose, and why."""


@pytest.mark.parametrize("module", modules())
def test_imports_point_left(module):
    here = layer(module)
    for there in {layer(target) for target in imported(module)} - {here}:
        if there in BESIDE:
            assert here in IMPORTERS[there], f"{module} imports {there}"
            continue
        limit = BESIDE.get(here, here)
        assert ORDER.index(there) <= ORDER.index(limit), f"{module}: {here} may not import {there}, to its right"


def test_every_layer_is_listed():
    assert {layer(module) for module in modules()} <= {*ORDER, *BESIDE}


def test_no_modules_import_each_other():
    """Nor in a longer circle; imports inside functions and typing blocks count."""
    assert cycles(graph()) == []


def test_the_drawing_in_contributing_is_that_of_the_imports():
    """`python -m tests.import_graph` prints it."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert drawing() in text
    for here, targets in layer_graph().items():
        assert not targets - {*ORDER, *BESIDE}, here


def test_there_are_few_modules_and_files_stay_small():
    assert sum(not name.startswith(APART) for name in modules()) <= MODULES
    assert not {str(path): n for path in sources() if (n := len(path.read_text().splitlines())) > LINES}


def test_functions_stay_short():
    """Docstrings not counted."""
    long = [(module, function.name) for module, function in functions() if length(function) > LINES_OF_A_FUNCTION]
    assert len(long) <= LONG_FUNCTIONS, long


def test_a_public_name_has_one_meaning():
    twice = {name: sorted(homes) for name, homes in public_names().items() if len(homes) > 1}
    assert not {name: homes for name, homes in twice.items() if name not in SHARED_NAMES}


@pytest.mark.parametrize(
    "statement",
    [
        "import geodiag",
        "import geodiag; geodiag.open_store, geodiag.Store",
        "import geodiag.signals, geodiag.store, geodiag.stats",
        "import geodiag.cli",
    ],
)
def test_reading_stays_light(statement):
    """No torch, transformers or matplotlib behind what only reads a store."""
    code = f"{statement}\nimport sys\nprint([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_import_is_quick():
    """Under 0.3 s of processor time, which other processes do not lengthen."""
    code = "import time; t = time.process_time(); import geodiag; print(time.process_time() - t)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 0.3


def test_the_project_speaks_of_itself_only():
    """No path of a machine in anything a user sees."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert str(PACKAGE.parent) not in text, path
        assert not re.search(r"/(home|root|Users)/\w", text), path
