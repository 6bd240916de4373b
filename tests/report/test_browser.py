"""The report in Chromium, from a file, on a phone and on a desktop, light and dark."""

import time

import pytest

from geodiag.explain import StoreEvidence, explain_step

from .conftest import IMAGE, QUICK

WIDTHS = {"phone": 390, "desktop": 1280}
SCHEMES = ("light", "dark")
CONTRAST = """
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const style = getComputedStyle(document.body);
  const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
"""


@pytest.fixture
def visit(browser, page):
    """Opens the page afresh at a width, in a scheme, and waits until it is unpacked."""

    def go(width=WIDTHS["desktop"], scheme="light", fragment="", media=""):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media})
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(page.as_uri() + fragment)
        wait(browser, "return document.documentElement.dataset.ready === 'yes'")
        return browser

    return go


def wait(browser, script, seconds=20):
    end = time.monotonic() + seconds
    while not browser.execute_script(script):
        assert time.monotonic() < end, script
        time.sleep(0.05)


def js(browser, script, *arguments):
    return browser.execute_script(script, *arguments)


def said(browser):
    return js(browser, "return document.querySelector('#said .gd-verdict p').textContent")


def choose(browser, element, value):
    js(
        browser,
        "const s = document.getElementById(arguments[0]); s.value = arguments[1]; s.dispatchEvent(new Event('change'))",
        element,
        value,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_it_opens_without_an_error_and_fits(visit, width, scheme):
    browser = visit(width, scheme)
    assert browser.get_log("browser") == []
    assert js(browser, "return document.documentElement.scrollWidth <= innerWidth")
    assert js(browser, "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    loaded = js(browser, "return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith("data:") for name in loaded)
    assert js(browser, CONTRAST) >= 7
    dark = js(browser, "return getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'")
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_picking_a_step_changes_the_page(visit, store, width):
    browser = visit(width)
    evidence = StoreEvidence(store, QUICK)
    for run, step in (("r0", 3), ("r1", 5), ("r1", 8), ("r6", 2)):
        choose(browser, "run", run)
        choose(browser, "step", str(step))
        assert said(browser) == explain_step(store, run, step, evidence=evidence).verdict.text
        assert js(browser, "return location.hash") == f"#run={run}&step={step}"
        assert f"Run {run}, step {step}: " in js(browser, "return document.getElementById('status').textContent")
    assert browser.get_log("browser") == []


def test_buttons_cells_and_addresses_lead_to_steps(visit, store):
    from selenium.webdriver.common.by import By

    browser = visit(fragment="#run=r2&step=4")
    where = "return [document.getElementById('run').value, document.getElementById('step').value]"
    assert js(browser, where) == ["r2", "4"]
    browser.find_element(By.ID, "after").click()
    assert js(browser, where) == ["r2", "5"]
    browser.find_element(By.ID, "before").click()
    assert js(browser, where) == ["r2", "4"]
    js(browser, "document.querySelector('#runs td[data-run=r3][data-step=\"6\"]').click()")
    assert js(browser, where) == ["r3", "6"]
    assert js(browser, "return document.activeElement.id") == "explain"
    assert js(browser, "return document.querySelectorAll('#runs td.picked').length") == 1
    js(browser, "document.querySelector('#runs button.pick[data-run=r5]').click()")
    assert js(browser, where)[0] == "r5"
    js(browser, "document.querySelector('#panel td[data-step=\"2\"]').click()")
    assert js(browser, where) == ["r5", "2"]
    assert browser.get_log("browser") == []


def test_the_first_and_last_step_end_the_walk(visit):
    browser = visit(fragment="#run=r0&step=1")
    ends = "return [document.getElementById('before').disabled, document.getElementById('after').disabled]"
    assert js(browser, ends) == [True, False]
    choose(browser, "step", "8")
    assert js(browser, ends) == [False, True]


def test_an_address_of_no_step_changes_nothing(visit):
    browser = visit(fragment="#run=%3Cimg%3E&step=99")
    assert said(browser)
    assert browser.get_log("browser") == []


def test_hostile_names_stay_text(visit):
    browser = visit(fragment="#run=r1&step=1")
    assert IMAGE.title() in js(browser, "return document.getElementById('said').textContent")
    for run in ("r0", "r1", "r5"):
        choose(browser, "run", run)
        choose(browser, "step", "2")
    assert js(browser, "return window.hacked ?? window.Hacked ?? null") is None
    assert js(browser, "return document.querySelectorAll('img:not([src^=\"data:image/png\"])').length") == 0
    assert browser.get_log("browser") == []


def test_tables_sort_by_number_and_by_name(visit):
    from selenium.webdriver.common.by import By

    browser = visit()
    column = """
      const table = document.querySelector('#runs table.sortable');
      const heads = [...table.tHead.rows[0].cells], at = heads.findIndex((h) => h.textContent === arguments[0]);
      return [[...table.tBodies[0].rows].map((row) => row.cells[at].textContent), heads[at].getAttribute('aria-sort')];
    """
    press = """[...document.querySelectorAll('#runs table.sortable button.sort')]
      .find((b) => b.textContent === arguments[0]).click()"""
    js(browser, press, "OP")
    values, order = js(browser, column, "OP")
    numbers = [float(value) for value in values if value != "–"]
    assert (order, values[-1]) == ("descending", "–")
    assert numbers == sorted(numbers, reverse=True)
    js(browser, press, "OP")
    values, order = js(browser, column, "OP")
    assert (order, values[-1]) == ("ascending", "–")
    assert [float(value) for value in values[:-1]] == sorted(numbers)
    js(browser, press, "run")
    assert js(browser, column, "run") == [[f"r{n}" for n in range(7)], "ascending"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#runs th[aria-sort]")) == 1


def test_heatmaps_are_read_with_the_keyboard(visit):
    """One stop of the tab key, arrows from cell to cell, a line that says the value, Enter to open the step."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser = visit()
    heat = browser.find_element(By.CSS_SELECTOR, "#runs figure.heatmap")
    assert js(browser, "return arguments[0].querySelectorAll('[tabindex=\"0\"]').length", heat) == 1
    js(browser, "arguments[0].querySelector('[tabindex=\"0\"]').focus()", heat)
    line = heat.find_element(By.CSS_SELECTOR, ".readout")
    assert line.text.startswith("r0, 2: ")
    assert line.text.endswith(" points")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
        browser.switch_to.active_element.send_keys(key)
    assert line.text.startswith("r1, 3: ")
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, "return location.hash === '#run=r1&step=3'")
    assert browser.get_log("browser") == []


def test_a_value_is_said_under_the_pointer(visit):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    browser = visit()
    cell = browser.find_element(By.CSS_SELECTOR, "#correlations td[title^='Global gap, Pooled']")
    js(browser, "arguments[0].scrollIntoView({ block: 'center' })", cell)
    ActionChains(browser).move_to_element(cell).perform()
    said_there = cell.find_element(By.XPATH, "ancestor::figure").find_element(By.CSS_SELECTOR, ".readout").text
    assert said_there == cell.get_attribute("title")


def test_one_correlation_is_shown_at_a_time(visit):
    from selenium.webdriver.common.by import By

    browser = visit()
    for way in ("pooled", "between", "step_partial"):
        browser.execute_script("document.querySelector(`input[value=${arguments[0]}]`).click()", way)
        shown = [one for one in browser.find_elements(By.CSS_SELECTOR, ".way") if one.is_displayed()]
        assert [one.get_attribute("data-way") for one in shown] == [way]


def test_controls_have_names_for_a_screen_reader(visit):
    from selenium.webdriver.common.by import By

    browser = visit(WIDTHS["phone"])
    names = {
        one.get_attribute("id"): one.accessible_name
        for one in browser.find_elements(By.CSS_SELECTOR, "#picker select, #picker button")
    }
    assert (names["run"], names["step"]) == ("Run", "Step")
    assert names["before"].startswith("Previous")
    assert names["after"].startswith("Next")
    assert browser.find_element(By.ID, "status").aria_role == "status"
    assert [one.accessible_name for one in browser.find_elements(By.TAG_NAME, "nav")] == ["Sections"]


def test_on_paper_everything_is_unfolded_and_controls_are_gone(visit):
    browser = visit(media="print")
    assert js(browser, "return getComputedStyle(document.getElementById('picker')).display") == "none"
    assert js(browser, "return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    folded = "return document.querySelectorAll('#tables details:not([open])').length"
    before = js(browser, folded)
    js(browser, "dispatchEvent(new Event('beforeprint'))")
    assert (before > 10, js(browser, folded)) == (True, 0)
    js(browser, "dispatchEvent(new Event('afterprint'))")
    assert js(browser, folded) == before
    assert len(browser.print_page()) > 50_000
    assert js(browser, folded) == before
