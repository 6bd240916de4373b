"""An explanation as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from geodiag.explain.results import Explanation


def as_json(explanation: Explanation, *, indent: int | None) -> str:
    """Every field by its name; numbers that are not finite are null."""
    return json.dumps(as_record(explanation), indent=indent, ensure_ascii=False, allow_nan=False)


def as_record(value: Any) -> Any:
    """Dataclasses as dictionaries, sequences as lists."""
    if is_dataclass(value):
        return {field.name: as_record(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_record(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_record(part) for part in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
