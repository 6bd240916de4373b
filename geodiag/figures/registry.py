"""The list of figures. Each enters itself, by the decorator `figure` of its function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from matplotlib.axes import Axes

from geodiag.common.text import select
from geodiag.figures.data import as_tables
from geodiag.figures.theme import theme


@dataclass(frozen=True)
class Figure:
    """One figure."""

    title: str
    """Its heading."""
    draw: Callable[..., Axes | Sequence[Axes]]
    """Draws it from a store or its tables, into axes given or new ones."""
    tables: tuple[str, ...]
    """The tables it is drawn from, the first of which a bare frame is taken for."""
    needs: str = "steps"
    """What the store must hold, in words."""
    per_run: bool = False
    """Whether it shows one run, so that there is one for each."""

    @property
    def name(self) -> str:
        """The stem of its file, which is the name of its function."""
        return self.draw.__name__


SCORED, COMPARED = "scores of two steps or more", "tasks that were compared"
"""What most figures need of a store, in words."""
FIGURES: list[Figure] = []
"""All figures: those of the paper by number, then ours, then those of single runs."""

P = ParamSpec("P")
R = TypeVar("R", Axes, list[Axes])


def figure(
    title: str, *, tables: Sequence[str], needs: str = "steps", per_run: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Enter a function as a figure: it draws in the style of `theme`, and gets its `data` as `Tables`.

    Args:
        title: the figure's heading.
        tables: the tables it is drawn from, the first of which a bare frame is taken for.
        needs: what the store must hold, in words.
        per_run: whether it shows one run and has a parameter `run`.
    """

    def enter(draw: Callable[P, R]) -> Callable[P, R]:
        parameters = signature(draw)

        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
            given = parameters.bind(*args, **kwargs)
            given.arguments["data"] = as_tables(given.arguments["data"], name=tables[0])
            with theme():
                return draw(*given.args, **given.kwargs)

        FIGURES.append(Figure(title, drawn, tuple(tables), needs, per_run))
        FIGURES.sort(key=_place)
        return drawn

    return enter


def _place(entry: Figure) -> tuple[bool, bool, int]:
    number = re.match(r"fig(\d+)_", entry.name)
    return entry.per_run, number is None, int(number[1]) if number else 0


def select_figures(only: Iterable[str] | None) -> list[Figure]:
    """Figures by name, or by the beginning of a name up to an underscore ("fig05").

    Raises:
        SettingsError: there is no figure of that name.
    """
    return select(only, FIGURES, kind="figure")
