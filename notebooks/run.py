"""Executes notebooks and puts their outputs into them: `python notebooks/run.py [NAME ...]`, all by default."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def execute(path, *, folder):
    """A notebook with fresh outputs.

    Args:
        path: the notebook's file, which is left as it is.
        folder: where it runs.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran, which differs every time
    return notebook


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        file = FOLDER / f"{name}.ipynb"
        nbformat.write(execute(file, folder=FOLDER), file)
        print(file.name)
