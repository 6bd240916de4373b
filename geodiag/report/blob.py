"""Much text in little room: compressed, so that hundreds of explanations fit into one page."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import Any


def pack(data: Any) -> str:
    """JSON, gzipped, as base64; the same text every time. No character of it means anything in HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode("ascii")
