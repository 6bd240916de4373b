"""A report of planted runs whose names are hostile, and a browser to open it in."""

import shutil

import pytest

from geodiag.api import Store
from geodiag.report import write_report
from geodiag.tables import Options
from tests.explain import planted
from tests.explain.planted import TASKS, Plan

IMAGE = "<img src=x onerror=hacked=1>"
SCRIPT = "</script><b>M"
QUOTES = "'\"><img src=x>"
HOSTILE = (IMAGE, SCRIPT, QUOTES)
QUICK = Options(resamples=30, permutations=30)
CAUSES = ("none", "family", "repeat", "none", "not learnt", "none", "large update")


def plans():
    """Seven runs of eight steps, one without scores; markup as task, method and size."""
    tasks = (IMAGE, *TASKS[1:])
    return [
        Plan(
            f"r{n}",
            n,
            cause,
            tasks=tasks,
            gradients=n == 1,
            scores=n != 6,
            method=SCRIPT if n % 2 else "Seq. SFT",
            size=QUOTES if n > 3 else "tiny",
        )
        for n, cause in enumerate(CAUSES)
    ]


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "store"
    planted.write(path, plans())
    return Store(path)


@pytest.fixture(scope="session")
def page(store):
    """The report's file."""
    return write_report(store, store.path.parent / "out" / "report.html", QUICK)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, driven; whoever has none skips what needs it."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: `make system` installs them on Debian, as root")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options as BrowserOptions
    from selenium.webdriver.chrome.service import Service

    options = BrowserOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()
