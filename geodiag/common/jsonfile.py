"""Reading a JSON object from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geodiag.errors import CheckpointError, GeodiagError


def read_json_object(path: Path, error_class: type[GeodiagError] = CheckpointError) -> dict[str, Any]:
    """A JSON file that holds one object.

    Args:
        path: the file.
        error_class: the class of the errors.

    Raises:
        GeodiagError: of the given class: the file cannot be read, is not JSON (the line is named), or is not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise error_class(f"cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text at byte {error.start}"
        raise error_class(what, where=path, fix="copy or download it again") from error
    except json.JSONDecodeError as error:
        what = f"not valid JSON: {error.msg}"
        raise error_class(what, where=f"{path}:{error.lineno}", fix="copy or download it again") from error
    except (RecursionError, ValueError) as error:
        raise error_class("not valid JSON: nested or sized beyond reason", where=path) from error
    if not isinstance(data, dict):
        raise error_class("not a JSON object", where=path, fix="copy or download it again")
    return data
