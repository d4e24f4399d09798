"""A headless Chromium for tests of pages; these tests are skipped without it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options)
    except Exception as error:  # one of several options of selenium
        pytest.skip(f"no Chromium here: {str(error).splitlines()[0]}")
    yield driver
    driver.quit()


def wide(driver, width: int) -> None:
    """Show pages as wide as this many pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def faults(driver) -> list[str]:
    """Return the errors in the console of the page."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
