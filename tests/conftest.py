"""What holds for all tests: checked shapes, one thread a process, and groups that share what is dear to build."""

import os

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


def group_of(item: pytest.Item) -> str | None:
    """Tests that run in one process: a package's where they share a session's fixture, a file's where a module's."""
    definitions = item._fixtureinfo.name2fixturedefs.values()
    scopes = {
        chain[-1].scope for chain in definitions if chain[-1].baseid.startswith("tests/") or chain[-1].baseid == "tests"
    }
    if "session" in scopes:
        return item.path.parent.name
    return item.nodeid.split("::")[0] if "module" in scopes else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its group for `--dist loadgroup`: every shared fixture is built once, not once a worker."""
    for item in items:
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
