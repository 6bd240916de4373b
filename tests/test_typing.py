"""The public API is typed: `mypy --strict` accepts a correct script of a user and refuses a wrong call."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import geodiag

PACKAGE = Path(geodiag.__file__).parent

RIGHT = """\
import polars as pl

import geodiag
from geodiag import GeodiagError, Store

store: Store = geodiag.open_store("store")
frames: list[pl.DataFrame] = [store.steps(), store.pairs(), store.families(), store.layers(), store.outcomes()]
example: Store = geodiag.load_example("lab").only(["2m-ewc-s0"])
published: pl.DataFrame = geodiag.load_paper("table03")
try:
    report = geodiag.extract("runs", store="store", device="cpu", rank=16, families=["q_proj"], gradients=True)
    code: int = report.exit_code
except GeodiagError as error:
    print(error)
explanation = store.explain("run", step=3)
text: str = explanation.to_text(width=80) + explanation.to_json(indent=None) + explanation.verdict.outcome
numbers: list[float | None] = [line.value for section in explanation.sections for line in section.lines]
norm: float = geodiag.diff("a", "b").norm
height: int = geodiag.analyze(store, resamples=20)["table03_global_step_confidence"].height
geodiag.merge({"rule": "ties"}, out="merged")
geodiag.figures.draw_all(store, "figures")
version: str = geodiag.__version__
"""

WRONG = [
    ("geodiag.nonexistent", 'Module has no attribute "nonexistent"'),
    ("from geodiag import open_stroe", 'Module "geodiag" has no attribute "open_stroe"'),
    ("geodiag.open_store(3)", 'Argument 1 to "open_store" has incompatible type "int"'),
    ('geodiag.open_store(pth="store")', 'Unexpected keyword argument "pth" for "open_store"'),
    ('geodiag.open_store("store").explain("run", "3")', 'Argument 2 to "explain" of "Store" has incompatible type'),
    ('geodiag.open_store("store").step()', '"Store" has no attribute "step"'),
    ('geodiag.load_example("lab").explain("run", 3).verdicts', '"Explanation" has no attribute "verdicts"'),
    ('geodiag.diff("a", "b", layer="x")', 'Unexpected keyword argument "layer" for "diff"'),
    ('geodiag.extract(42, stoer="x")', 'Argument 1 to "extract" has incompatible type "int"'),
    ('geodiag.extract("runs", store="store", stoer="x")', 'Unexpected keyword argument "stoer" for "extract"'),
    ('geodiag.extract("runs", store="store", rank="16")', 'Argument "rank" to "extract" has incompatible type "str"'),
]


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """Messages of `mypy --strict` by file and line, from one run over both scripts."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(
        "\n".join(["import geodiag", *(line for line, _ in WRONG)]) + "\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "right.py", "wrong.py"]
    # Only what the scripts do is reported; the package itself is checked with its own settings.
    command += ["--follow-imports", "silent", "--hide-error-codes", "--no-error-summary"]
    environment = os.environ | {"MYPYPATH": str(PACKAGE.parent)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    by_line = {}
    for file, line, text in re.findall(r"^(\w+\.py):(\d+): error: (.*)$", result.stdout, flags=re.MULTILINE):
        by_line.setdefault((file, int(line)), []).append(text)
    return by_line


@pytest.mark.slow
def test_a_correct_script_passes(messages):
    assert not {place: texts for place, texts in messages.items() if place[0] == "right.py"}


@pytest.mark.slow
@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_wrong_call_is_refused(messages, line, message):
    texts = messages.get(("wrong.py", 2 + WRONG.index((line, message))), [])
    assert any(message in text for text in texts), texts


def test_type_checkers_see_every_public_name_and_no_other():
    """Quick form of the above: what they read is the public names imported one by one, and no `__getattr__`."""
    typed, lazy = next(
        (node.body, node.orelse)
        for node in ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    assert all(isinstance(node, ast.ImportFrom) for node in typed)
    names = {alias.asname or alias.name for node in typed for alias in node.names}
    assert names | {"__version__"} == set(geodiag.__all__)
    hidden = {node.name for node in lazy if isinstance(node, ast.FunctionDef)}
    assert hidden == {"__getattr__", "__dir__"}
    assert (PACKAGE / "py.typed").is_file()


def test_every_public_name_is_what_its_module_holds():
    for name in geodiag.__all__:
        assert getattr(geodiag, name) is not None
    assert sorted(dir(geodiag)) == sorted(geodiag.__all__)
    with pytest.raises(AttributeError, match="module 'geodiag' has no attribute 'nonexistent'"):
        _ = geodiag.nonexistent
