"""Made-up stores, and what holds around every test: nothing global changes, no figure stays open.

`GEODIAG_SAVE_FIGURES=folder pytest tests/figures` writes every figure that a test leaves open, for a person to look at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes

from geodiag.figures import FIGURES, Figure, NothingToDraw, Tables, paper_tables, store_tables
from geodiag.figures.theme import theme
from geodiag.store import StoreReader
from geodiag.tables import Options
from tests.figures.synthetic import MMLU_PRO, Shape, write_store

QUICK = Options(resamples=40, permutations=40)
FORTY = [f"domain_{k}" for k in range(40)]
SHAPES = {
    "plain": Shape(blocks=1),
    "gaps": Shape(missing=0.4, blocks=1),
    "one_method": Shape(methods=["mine"], blocks=1),
    "one_size": Shape(sizes=["135M"], blocks=1),
    "one_run": Shape(sizes=["1B"], methods=["EWC"], tasks=MMLU_PRO[:3], blocks=1),
    "one_step": Shape(sizes=["1B"], methods=["EWC"], tasks=MMLU_PRO[:1], blocks=1),
    "forty_tasks": Shape(sizes=["1B"], methods=["Seq. SFT"], tasks=FORTY, blocks=1, gradients=False),
    "no_scores": Shape(sizes=["1B"], scores=False, gradients=False, blocks=1),
}
"""Stores that are plain, lack something, or hold little or much of it."""

Axeses = list[Axes] | NothingToDraw
BY_NAME = {figure.name: figure for figure in FIGURES}


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    before, backend = mpl.rcParams.copy(), mpl.get_backend()
    yield
    assert mpl.rcParams == before
    assert mpl.get_backend() == backend
    folder = os.environ.get("GEODIAG_SAVE_FIGURES")
    if folder:
        _save_open(Path(folder), request.node.name)
    plt.close("all")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], StoreReader]:
    made: dict[str, StoreReader] = {}

    def get(name: str) -> StoreReader:
        if name not in made:
            made[name] = write_store(tmp_path_factory.mktemp(name) / "store", SHAPES[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def tables(stores: Callable[[str], StoreReader]) -> Callable[[str], Tables]:
    """The tables of a made-up store, each made once a session."""
    made: dict[str, Tables] = {}

    def get(name: str) -> Tables:
        if name not in made:
            made[name] = store_tables(stores(name), QUICK)
        return made[name]

    return get


@pytest.fixture(scope="session")
def drawn(tables: Callable[[str], Tables]) -> Callable[[str, str], Axeses]:
    """A figure's axes on a made-up store, or why there are none; drawn once a session, to be read only."""
    made: dict[tuple[str, str], Axeses] = {}

    def get(name: str, shape: str) -> Axeses:
        if (name, shape) not in made:
            made[name, shape] = _draw(BY_NAME[name], paper_tables() if shape == "paper" else tables(shape))
        return made[name, shape]

    return get


def _draw(figure: Figure, source: Tables) -> Axeses:
    try:
        chosen = {"run": source.get("step_signals")["run"][0]} if figure.per_run else {}
        found = figure.draw(source, **chosen)
    except NothingToDraw as reason:
        return reason
    return [found] if isinstance(found, Axes) else list(found)


def _save_open(folder: Path, test: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() else "_" for c in test)
    for number in plt.get_fignums():
        with theme():
            plt.figure(number).savefig(folder / f"{name}-{number}.png")
