"""The tasks of a sequence: training, held-out and probe items, generated from a seed or read from a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.random import Generator

from geodiag.errors import SettingsError
from geodiag.lab.domains import DOMAINS, Domain


def seed_of(*names: object) -> int:
    """A 32-bit seed from names, such as `seed_of("order", seed, "copy", "expert")`.

    The first four bytes of SHA-256 of the names, so that it is the same in every process and version.
    """
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


def generator_of(*names: object) -> Generator:
    """A generator seeded by `seed_of(*names)`."""
    return np.random.default_rng(seed_of(*names))


Counts = tuple[int, int, int]
"""Numbers of training, held-out and probe items of a task."""

_REPEATS = 1000
"""Draws in a row that bring nothing new, after which a domain counts as exhausted."""


@dataclass(frozen=True)
class Item:
    """A prompt and the one right continuation."""

    prompt: str
    """The text that the model is given."""
    target: str
    """The text that it should write, to the end mark."""
    label: str = ""
    """The item's class where the task has classes; a memory keeps at least one item of each."""


@dataclass(frozen=True)
class Task:
    """A task: disjoint items to train on, to score, and to probe gradients with."""

    name: str
    """The name in runs and score files."""
    train: tuple[Item, ...]
    """Items to train on."""
    test: tuple[Item, ...]
    """Items to score; neither a run nor its base is trained on them."""
    probes: tuple[Item, ...]
    """Examples of the training distribution that were never trained on."""

    def characters(self) -> set[str]:
        """Every character of the task's texts."""
        return set().union(*(item.prompt + item.target for item in (*self.train, *self.test, *self.probes)))


def generate_task(domain: Domain, *, seed: int, counts: Counts) -> Task:
    """A task of distinct items, split into training, held-out and probe items.

    Args:
        domain: the kind of question.
        seed: the suite's seed; the same seed gives the same items on every machine.
        counts: numbers of training, held-out and probe items.

    Raises:
        SettingsError: the domain has too few distinct items.
    """
    rng, wanted, repeats = generator_of("suite", seed, domain.name), sum(counts), 0
    items: dict[str, Item] = {}
    while len(items) < wanted and repeats < _REPEATS:
        body = domain.draw(rng)
        target = domain.target(body)
        repeats = repeats + 1 if body in items else 0
        items.setdefault(body, Item(domain.prompt(body), target, target if domain.classes else ""))
    if len(items) == wanted:
        return _split(domain.name, list(items.values()), counts=counts)
    raise SettingsError(
        f"task {domain.name} has only about {len(items)} distinct items, {wanted} are asked for",
        where="suite",
        fix="lower train, test or probes",
    )


def read_task(folder: Path, *, counts: Counts) -> Task:
    """A task from `train.jsonl` and `test.jsonl` (and `probes.jsonl`), one `{prompt, target}` a line.

    At most `counts` items of each file are taken. Without `probes.jsonl` the last training items become the
    probes and are not trained on. An optional `label` names an item's class.

    Raises:
        SettingsError: a file is missing, a line is no item, or a prompt is both trained on and held out.
    """
    train, test = _read_items(folder / "train.jsonl"), _read_items(folder / "test.jsonl")[: counts[1]]
    apart = folder / "probes.jsonl"
    probes = _read_items(apart) if apart.exists() else train[-min(counts[2], len(train) // 2) :]
    if not apart.exists():
        train = train[: len(train) - len(probes)]
    task = Task(folder.name, tuple(train[: counts[0]]), tuple(test), tuple(probes[: counts[2]]))
    _check_disjoint(task, where=folder)
    return task


def build_suite(names: Sequence[str], *, seed: int, counts: Counts, folder: Path | None = None) -> tuple[Task, ...]:
    """The tasks by name: from `folder/<name>/` where one is given, else generated.

    Raises:
        SettingsError: a task is unknown.
    """
    if folder is not None:
        return tuple(read_task(_task_folder(folder, name), counts=counts) for name in names)
    unknown = [name for name in names if name not in DOMAINS]
    if unknown:
        raise SettingsError(f"unknown task '{unknown[0]}'", where="tasks", fix=f"one of: {', '.join(DOMAINS)}")
    return tuple(generate_task(DOMAINS[name], seed=seed, counts=counts) for name in names)


def _task_folder(root: Path, name: str) -> Path:
    if not (root / name / "train.jsonl").is_file():
        raise SettingsError(
            f"task '{name}' has no file {root / name / 'train.jsonl'}",
            where="suite.folder",
            fix="a folder a task with train.jsonl and test.jsonl",
        )
    return root / name


def _split(name: str, items: Sequence[Item], *, counts: Counts) -> Task:
    train, test, _ = counts
    return Task(name, tuple(items[:train]), tuple(items[train : train + test]), tuple(items[train + test :]))


def _read_items(path: Path) -> list[Item]:
    if not path.is_file():
        raise SettingsError("there is no such file", where=path, fix="JSON lines with prompt and target")
    lines = path.read_text(encoding="utf-8").splitlines()
    items = [_item(line, where=f"{path}:{k}") for k, line in enumerate(lines, 1) if line.strip()]
    if not items:
        raise SettingsError("the file is empty", where=path, fix="JSON lines with prompt and target")
    return items


def _item(line: str, *, where: str) -> Item:
    try:
        row = json.loads(line)
        return Item(_text(row["prompt"]), _text(row["target"]), str(row.get("label", "")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fix = 'a line such as {"prompt": "2+2=", "target": "4."}'
        raise SettingsError(f"not an item: {line[:60]}", where=where, fix=fix) from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("no text")
    return value


def _check_disjoint(task: Task, *, where: Path) -> None:
    trained = {item.prompt for item in task.train}
    for item in (*task.test, *task.probes):
        if item.prompt in trained:
            raise SettingsError(
                f"prompt '{item.prompt[:60]}' is both trained on and held out",
                where=where,
                fix="keep the held-out prompts out of train.jsonl",
            )


def characters_of(tasks: Iterable[Task]) -> set[str]:
    """Every character that the tasks' texts need."""
    return set().union(*(task.characters() for task in tasks))
