"""From checkpoints to rows: the plan of a run and the one loop over its layers."""

from geodiag.extraction.bases import Basis, read_bases, write_bases
from geodiag.extraction.plan import Pair, Plan, Update, make_plan
from geodiag.extraction.rows import PER_LAYER_TABLES, Row, active_rows, layer_rows
from geodiag.extraction.run import RunExtraction, pick_device, prepare
from geodiag.extraction.settings import PRESETS, Settings, make_settings

__all__ = [
    "PER_LAYER_TABLES",
    "PRESETS",
    "Basis",
    "Pair",
    "Plan",
    "Row",
    "RunExtraction",
    "Settings",
    "Update",
    "active_rows",
    "layer_rows",
    "make_plan",
    "make_settings",
    "pick_device",
    "prepare",
    "read_bases",
    "write_bases",
]
