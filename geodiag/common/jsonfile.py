"""Reading a JSON object from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from geodiag.errors import CheckpointError, GeodiagError


def read_json_object(path: Path, *, error: type[GeodiagError] = CheckpointError) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: the file; a byte order mark at its start is skipped.
        error: the class of the error, by what the file is for.

    Raises:
        GeodiagError: of the class `error`; the file cannot be read, is not JSON (the line is named), or is not an
            object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as cause:
        raise error(f"cannot be read ({cause.strerror})", where=path) from cause
    except UnicodeDecodeError as cause:
        what = f"not UTF-8 text at byte {cause.start}"
        raise error(what, where=path, fix="copy or download it again") from cause
    except json.JSONDecodeError as cause:
        what = f"not valid JSON: {cause.msg}"
        raise error(what, where=f"{path}:{cause.lineno}", fix="copy or download it again") from cause
    except (RecursionError, ValueError) as cause:
        raise error("not valid JSON: nested or sized beyond reason", where=path) from cause
    if not isinstance(data, dict):
        raise error("not a JSON object", where=path, fix="copy or download it again")
    return data
