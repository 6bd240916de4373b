"""Forgetting diagnostics for language models that are post-trained in sequence."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Where each public name lives. They are loaded on first use, so that `import geodiag` stays quick and
# reading a store never loads torch.
_PUBLIC = {
    "open_store": "geodiag.api",
    "Store": "geodiag.api",
    "extract": "geodiag.api",
    "diff": "geodiag.api",
    "analyze": "geodiag.api",
    "merge": "geodiag.api",
    "load_example": "geodiag.api",
    "load_paper": "geodiag.paper",
    "figures": "geodiag.figures",
    "GeodiagError": "geodiag.errors",
}

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'geodiag' has no attribute {name!r}")
    module = import_module(_PUBLIC[name])
    return module if _PUBLIC[name].rpartition(".")[2] == name else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
