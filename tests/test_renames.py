"""Every module and public name of 0.1.0: docs/renames.md says where it is, and what packages offered still imports."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD = json.loads((ROOT / "tests" / "data" / "names_0_1_0.json").read_text())
"""Public names that each module of 0.1.0 defined."""
OFFERED = json.loads((ROOT / "tests" / "data" / "public_0_1_0.json").read_text())
"""What each package of 0.1.0 had in `__all__`: name and where it was defined."""
ROW = re.compile(r"\| `([\w.]+)` \| (?:`([\w.]+)`|removed: (.+?)) \| (.*) \|")
SCRIPTS = {"geodiag.__main__"}
"""Modules that run when they are imported."""


def read_table():
    """Modules as {old: [new]}, names as {old dotted name: new dotted name or None where it was removed}."""
    modules, names = {}, {}
    for line in (ROOT / "docs" / "renames.md").read_text(encoding="utf-8").splitlines():
        if (row := ROW.fullmatch(line)) is None:
            continue
        old, new, reason, listed = row.groups()
        assert new or len(reason) > 5, line
        modules.setdefault(old, []).append(new)
        for entry in re.findall(r"`([^`]+)`", listed):
            name, _, renamed = entry.partition(" → ")
            names[f"{old}.{name}"] = f"{new}.{renamed or name}" if new else None
    return modules, names


MODULES, NAMES = read_table()


def get(name):
    """The object of a dotted name: a module's, or a class's."""
    return pkgutil.resolve_name(name)


def test_every_module_and_name_of_0_1_0_is_in_the_table():
    assert set(OLD) == set(MODULES)
    assert {f"{module}.{name}" for module, names in OLD.items() for name in names} == set(NAMES)


def test_every_new_place_is_there():
    for new in {new for places in MODULES.values() for new in places if new} - SCRIPTS:
        importlib.import_module(new)
    for new in {new for new in NAMES.values() if new and new.rpartition(".")[0] not in SCRIPTS}:
        get(new)


@pytest.mark.parametrize("package", OFFERED)
def test_what_a_package_offered_it_still_offers(package):
    """Under the old name it is the object that the table names; a name that moved says so."""
    for name, origin in OFFERED[package].items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            offered = getattr(importlib.import_module(package), name)
        new = NAMES.get(origin, origin)
        assert offered is get(new), (package, name, new)
        if name not in getattr(importlib.import_module(package), "__all__", ()) and caught:
            (warning,) = caught
            assert warning.category is DeprecationWarning
            assert str(warning.message) == f"{package}.{name} is now {new}"
            assert warning.filename == __file__
        else:
            assert not caught


def test_a_name_that_never_was_is_an_attribute_error():
    import geodiag.extraction

    with pytest.raises(AttributeError, match=r"module 'geodiag\.extraction' has no attribute 'nothing'"):
        geodiag.extraction.nothing  # noqa: B018


def test_extraction_stays_light():
    code = "import geodiag.extraction, geodiag.extraction.gradients, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
