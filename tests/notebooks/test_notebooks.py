"""The notebooks run from start to end, and what was committed of them is what they give."""

import importlib.util
import re
import shutil
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = "merge_the_experts"
"""The notebook that takes least time; the others run among the slow tests."""
LARGEST = 300_000
MACHINE = re.compile(r"/(root|home|tmp|Users|private|var)/|[A-Z]:\\\\|site-packages")


def runner():
    """notebooks/run.py as a module."""
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "notebooks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs(notebook):
    """What every cell of code put out, in order."""
    return [(cell.source, list(cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook):
    """The form of every output: streams, errors, images, tables."""
    return [[(one.output_type, *sorted(one.get("data", {}))) for one in found] for _, found in outputs(notebook)]


def test_the_four_tours_are_there():
    names = {"bring_your_own_run", "explain_a_step", "is_it_the_geometry", "paper_figures"}
    assert {path.stem for path in NOTEBOOKS} >= names


@pytest.mark.filterwarnings("ignore::Warning")  # of the notebook machinery; a kernel's own are in its outputs
@pytest.mark.parametrize(
    "path",
    [path if path.stem == QUICK else pytest.param(path, marks=pytest.mark.slow) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_it_runs_and_gives_what_was_committed(path, tmp_path):
    shutil.copy(path, tmp_path)
    fresh = runner().execute(tmp_path / path.name, folder=tmp_path)
    assert kinds(fresh) == kinds(nbformat.read(path, as_version=4))
    assert [one.text for _, found in outputs(fresh) for one in found if one.get("name") == "stderr"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_was_committed_is_small_whole_and_of_no_machine(path):
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    for source, found in outputs(notebook):
        for one in found:
            assert one.output_type != "error", source
            shown = [one.get("text", ""), *(text for kind, text in one.get("data", {}).items() if "image" not in kind)]
            assert not any(MACHINE.search(text) for text in shown), source


def test_figures_are_shown_after_the_first():
    """A style that restores interactive mode too late would hide every figure but one."""
    images = {
        path.stem: sum("image/png" in kind for cell in kinds(nbformat.read(path, as_version=4)) for kind in cell)
        for path in NOTEBOOKS
    }
    assert images["paper_figures"] == 5
    assert images["is_it_the_geometry"] == 2
