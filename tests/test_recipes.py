"""The recipes of CONTRIBUTING.md: their files are the right ones, and an entry made in them alone works."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## How to add\n", 1)[1].split("\n## ", 1)[0]
RECIPES = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in TEXT.split("\n### ")[1:]}
BY_HAND = {"A measurement"}
"""Recipes whose example, a whole folder, is named in too many files to compare."""


def paths_of(recipe):
    return re.findall(r"`((?:geodiag|docs|tests)/[\w/.]+)`", RECIPES[recipe])


def example_of(recipe):
    return re.search(r"[Ee]xample: `(\w+)`", RECIPES[recipe]).group(1)


def naming(example):
    """Files of the package and its documents that name the example."""
    command = [
        *("git", "grep", "-l", "-i", "-w", example, "--", "geodiag", "docs"),
        ":!geodiag/_data",
        ":!docs/renames*",
        ":!docs/slow_tests.md",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        pytest.skip("not a git checkout")
    return set(done.stdout.split())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_files_of_a_recipe_are_there(recipe):
    assert paths_of(recipe)
    for path in paths_of(recipe):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("recipe", sorted(RECIPES.keys() - BY_HAND))
def test_they_are_the_ones_that_name_the_example(recipe):
    if shutil.which("git") is None:
        pytest.skip("needs git")
    named = {path for path in paths_of(recipe) if not path.startswith("tests/")}
    numbered = {
        path
        for line in RECIPES[recipe].splitlines()
        if line[:1].isdigit()
        for path in re.findall(r"`(\w+/[\w/.]+\.\w+)`", line)
    }
    assert naming(example_of(recipe)) <= named
    assert numbered <= naming(example_of(recipe))


SIGNAL = """
TOY = Signal("toy", "Toy", "geometry", 0, 1, "larger: more", "The mean SAR of active pairs, again.", "It is a toy.")
"""
OUTCOME = """
TOY = Signal("toy_best", "Toy best", "outcome", 0, 1, "larger: better", "The best old task's score.", "A toy.")
"""
ADDED = {
    "geodiag/signals/catalog_signals.py": (None, SIGNAL),
    "geodiag/signals/catalog_outcomes.py": (None, OUTCOME),
    "geodiag/signals/catalog.py": [
        ("    signals.ACTIVE_SAR,\n", "    signals.TOY,\n"),
        ("    outcomes.OLD_MIN,\n", "    outcomes.TOY,\n"),
    ],
    "geodiag/signals/levels.py": (
        '    Measure("state_norm",',
        '    Measure("toy", "pairs", _kind("active", "sar"), MEAN),\n',
    ),
    "geodiag/signals/outcomes.py": (
        '        pl.col("score").min().alias("old_min"),\n',
        '        pl.col("score").max().alias("toy_best"),\n',
    ),
    "geodiag/checkpoints/architectures.py": ('    "bloom": _BLOOM,\n', '    "toy": PLAIN,\n'),
}
"""Text added before a line of a file, or at its end."""
USE = """
import sys
from pathlib import Path
import geodiag
from geodiag.checkpoints.tensor_names import naming_of
assert Path(geodiag.__file__).is_relative_to(Path.cwd()), geodiag.__file__
store = geodiag.open_store(sys.argv[1])
steps = store.steps()
assert steps["toy"].equals(steps["active_sar"].alias("toy")), steps
assert steps["toy_best"].max() <= 1 and (steps["toy_best"] >= steps["old_min"]).all()
for frame in (store.families(), store.layers()):
    assert "toy" in frame.columns
assert "toy_best" in store.outcomes().columns
assert naming_of({"model_type": "toy"})[0] == "toy"
"""


def test_a_signal_an_outcome_and_an_architecture_take_the_files_of_their_recipes_alone(tmp_path):
    """In a copy of the package, each is added to the files that its recipe numbers, and then used."""
    shutil.copytree(ROOT / "geodiag", tmp_path / "geodiag", ignore=shutil.ignore_patterns("_data", "__pycache__"))
    for path, changes in ADDED.items():
        text = (tmp_path / path).read_text(encoding="utf-8")
        for before, added in changes if isinstance(changes, list) else [changes]:
            assert before is None or text.count(before) == 1, (path, before)
            text = text + added if before is None else text.replace(before, added + before)
        (tmp_path / path).write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", USE, str(ROOT / "tests" / "data" / "store_0_1_0" / "store")]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def slow_tests():
    """Tests with a `slow` mark, on themselves or on a case of theirs, from their source."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lists = [
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign) and "mark.slow" in ast.unparse(node)
        ]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                marks = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
                if any(re.search(rf"\b{name}\b", marks) for name in ("mark.slow", *lists)):
                    yield f"{path.relative_to(ROOT)}::{node.name}"


def test_every_slow_test_is_listed_with_the_quick_one_that_covers_it():
    rows = [
        line.split("|")[1:4] for line in (ROOT / "docs/slow_tests.md").read_text().splitlines() if "| `tests/" in line
    ]
    listed = {re.search(r"`([^`]+)`", test).group(1): quick for test, _, quick in rows}
    assert set(listed) == set(slow_tests())
    for name in re.findall(r"`(tests/[^`]+)`", " ".join(listed.values())):
        path, test = name.split("::")
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), name
