"""Forgetting diagnostics for language models that are post-trained in sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodiag.common import __version__

if TYPE_CHECKING:
    from geodiag import figures
    from geodiag.api import Store, analyze, diff, extract, load_example, merge, open_store
    from geodiag.errors import GeodiagError
    from geodiag.paper import load_paper
else:
    from importlib import import_module

    # The module of each public name. A module is imported when one of its names is first used, so that
    # `import geodiag` stays quick and reading a store never loads torch. Type checkers read the imports above
    # instead; a __getattr__ that they saw would make every name, misspelt ones included, valid.
    _MODULES = {
        "GeodiagError": "geodiag.errors",
        "Store": "geodiag.api",
        "analyze": "geodiag.api",
        "diff": "geodiag.api",
        "extract": "geodiag.api",
        "figures": "geodiag.figures",
        "load_example": "geodiag.api",
        "load_paper": "geodiag.paper",
        "merge": "geodiag.api",
        "open_store": "geodiag.api",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module 'geodiag' has no attribute {name!r}")
        module = import_module(_MODULES[name])
        return module if module.__name__ == f"geodiag.{name}" else getattr(module, name)

    def __dir__():
        return __all__


__all__ = [
    "GeodiagError",
    "Store",
    "__version__",
    "analyze",
    "diff",
    "extract",
    "figures",
    "load_example",
    "load_paper",
    "merge",
    "open_store",
]
