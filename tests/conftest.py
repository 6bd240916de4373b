"""Shapes written in the types are checked at run time, in the tests only."""

import matplotlib
from jaxtyping import install_import_hook

matplotlib.use("agg")
install_import_hook("geodiag.geometry", "beartype.beartype").__enter__()
