"""The house: which way imports go, and what stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import geodiag

PACKAGE = Path(geodiag.__file__).parent
ROOMS = (
    *("errors", "common", "stats"),
    *("runs", "checkpoints", "geometry", "models", "extraction", "store", "jobs"),
    *("signals",),
    *("paper", "tables", "figures", "explain", "report", "api", "console", "demo", "cli"),
)
"""Left to right: a module imports only from its own room and from rooms to its left."""
BESIDE = {"lab": "jobs", "merging": "jobs", "comparison": "geometry"}
"""Rooms that make runs or need none: they may import what stands left of, and with, the room named."""
FRIENDS = {"lab": {"demo", "cli"}, "merging": {"api", "cli"}, "comparison": {"api", "cli"}}
"""Who may import them."""


def room_of(path):
    top = path.relative_to(PACKAGE).parts[0]
    return top.removesuffix(".py")


def imported_rooms(path):
    """Rooms that a file imports from, anywhere in it, function bodies and typing blocks included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and node.module.startswith("geodiag"):
            parts = node.module.split(".")
            yield from ([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("geodiag."))


DATA = PACKAGE / "_data"
"""Numbers, with the scripts that made them: no room."""
FILES = sorted(
    p for p in PACKAGE.rglob("*.py") if not p.is_relative_to(DATA) and (p.parent != PACKAGE or p.stem in ROOMS)
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_left(path):
    here = room_of(path)
    for there in imported_rooms(path):
        if there in ("__version__", here):
            continue
        if there in BESIDE:
            assert here in FRIENDS[there], f"{path} imports {there}"
            continue
        limit = BESIDE.get(here, here)
        assert there in ROOMS, f"{path} imports {there}, which is no room"
        allowed = ROOMS.index(there) <= ROOMS.index(limit)
        assert allowed, f"{path}: {here} may not import {there}, which stands to its right"


def test_every_room_is_known():
    rooms = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if not p.name.startswith(("_", "."))}
    assert rooms - {"py.typed"} <= {*ROOMS, *BESIDE}


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


def test_files_stay_small():
    long = {str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_project_speaks_of_itself_only():
    """No path of a machine in anything a user sees."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert str(PACKAGE.parent) not in text, path
        assert not re.search(r"/(home|root|Users)/\w", text), path
