"""Shapes written in the types are checked at run time, in the tests only."""

import matplotlib
from hypothesis import settings
from jaxtyping import install_import_hook

matplotlib.use("agg")
install_import_hook("geodiag.geometry", "beartype.beartype").__enter__()

# Examples take as long as the machine lets them; what a test may take in all is pytest's to say.
settings.register_profile("geodiag", deadline=None)
settings.load_profile("geodiag")
