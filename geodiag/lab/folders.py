"""Folders that are there whole or not at all, and that say what they were made with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geodiag.errors import SettingsError

RECIPE = "recipe.json"
"""What a trained folder was made with, so that another configuration does not pass it off as its own."""

Recipe = Mapping[str, Any]


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, renamed to `path` on success; a kill or an error leaves no `path`.

    Yields:
        The folder to write into, empty.
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if path.exists():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one move, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Say in the folder what it was made with."""
    write_whole(folder / RECIPE, json.dumps(recipe, indent=1, sort_keys=True, default=str) + "\n")


def made_with(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder is there and was made with this recipe.

    Raises:
        SettingsError: it was made with another one.
    """
    path = folder / RECIPE
    if not path.is_file():
        return False
    found, wanted = json.loads(path.read_text()), json.loads(json.dumps(recipe, default=str))
    if found == wanted:
        return True
    other = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    raise SettingsError(
        f"was made with other settings ({', '.join(other)})", where=folder, fix="give another --out, or delete it"
    )
