"""Imports and public names of the package, read from its source: what the tests of its layers look at."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "geodiag"
DATA = PACKAGE / "_data"
"""Numbers, with the scripts that made them: no package."""


def sources() -> list[Path]:
    """Every source file of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(DATA))


def module_name(path: Path) -> str:
    """Dotted name of a source file's module."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """Source file of every module."""
    return {module_name(path): path for path in sources()}


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def layer(module: str) -> str:
    """The package or top-level module that a module belongs to: its layer."""
    return module.split(".")[1] if "." in module else "geodiag"


def imported(module: str) -> Iterator[str]:
    """Modules of geodiag that a module imports, anywhere in it: function bodies and typing blocks included."""
    for node in ast.walk(tree(modules()[module])):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else node.module for name in names]
        yield from (name for name in names if name in modules() and name != module)


@cache
def graph() -> dict[str, frozenset[str]]:
    """Imports between modules."""
    return {module: frozenset(imported(module)) for module in modules()}


def layer_graph() -> dict[str, set[str]]:
    """Imports between layers."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph().items():
        edges[layer(module)] |= {layer(target) for target in targets} - {layer(module)}
    return edges


def cycles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """Groups of modules that import one another: strongly connected components of two or more (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in edges[node]:
            if target not in number:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], number[target])
        if low[node] == number[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                groups.append(sorted(stack[at:]))
            del stack[at:]

    for node in edges:
        if node not in number:
            visit(node)
    return groups


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with the name of its module."""
    for module, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield module, node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring not counted."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def public_names() -> dict[str, set[str]]:
    """Public names defined at the top level of modules, each with its modules; re-exports do not count."""
    homes: dict[str, set[str]] = defaultdict(set)
    for module, path in modules().items():
        if path.name == "__init__.py" and path.parent == PACKAGE:
            continue
        for node in tree(path).body:
            for name in _defined(node):
                if not name.startswith("_"):
                    homes[name].add(module)
    return homes


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def drawing() -> str:
    """The layers with the layers that each imports, one a line, as CONTRIBUTING.md shows them."""
    edges = layer_graph()
    from tests.test_layers import BESIDE, ORDER

    known = [*ORDER, *BESIDE]
    width = max(len(name) for name in known)
    lines = []
    for name in [*ORDER, *BESIDE]:
        targets = sorted(edges.get(name, ()), key=known.index)
        lines.append(f"    {name:<{width}}  {'<- ' + ', '.join(targets) if targets else ''}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(drawing() + "\n")
