"""Names of earlier versions that moved: importable from their old package, with a warning that gives the new place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any


def moved_names(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Build a package's `__getattr__` for names that moved or were renamed.

    Modules are imported when a name is asked for, so a package stays as light as it is without them.

    Args:
        package: The package's `__name__`.
        names: New place of each old name, "module:name" or "module:Class.method".

    Returns:
        A function that returns the object of an old name and warns with `DeprecationWarning`; it raises
        `AttributeError` for any other name.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        warnings.warn(f"{package}.{name} is now {names[name].replace(':', '.')}", DeprecationWarning, stacklevel=2)
        return resolve_name(names[name])

    return get
