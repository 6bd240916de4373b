"""What holds for all tests: checked shapes, one thread a process, and tests that share a fixture in one process."""

import gc
import os
import re
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers of two threads each wait for one another

import matplotlib
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

matplotlib.use("agg")
install_import_hook("geodiag.geometry", "beartype.beartype").__enter__()

# Examples take as long as the machine lets them; what a test may take in all is pytest's to say.
settings.register_profile("geodiag", deadline=None)
settings.load_profile("geodiag")

ROOT = Path(__file__).parents[1]


def pytest_collection_finish():
    """Take what is imported out of garbage collection: full ones, which statsmodels asks for, then take no second."""
    gc.collect()
    gc.freeze()


@cache
def shared_fixtures(file: Path, scope: str) -> frozenset[str]:
    """Names of a file's fixtures of a scope, read from its text."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return frozenset(re.findall(rf'@pytest\.fixture\(scope="{scope}".*\)\ndef (\w+)', text))


@cache
def unit_of_file(file: str) -> str | None:
    """The package of a test file where it shares fixtures of a session, else the file where of a module, else None."""
    path = ROOT / file
    words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    conftest = path.parent / "conftest.py"
    if words & shared_fixtures(conftest, "session"):
        return path.parent.name
    return file if shared_fixtures(path, "module") or words & shared_fixtures(conftest, "module") else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Under `--dist loadscope`, hand out tests by their shared fixtures, so that each is built once; others singly.

    (`--dist loadgroup` would take marks for it, but with pytest 9.2 pytest-xdist 3.8 overlooks them.)
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return unit_of_file(nodeid.split("::")[0]) or nodeid

    return ByFixture(config, log)
