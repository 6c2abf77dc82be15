"""Headless Chromium without a network, for the tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """A page that is open, by what a person can do and see."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, page: Path, *, width: int = 1400, height: int = 900, scheme: str = "light", ready: bool = True
    ) -> None:
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.complaints()
        self.driver.get(page.resolve().as_uri())
        if ready:
            self.until("document.documentElement.dataset.ready")
            assert self.js("document.documentElement.dataset.ready") == "yes", self.complaints()

    def cdp(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, expression: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return ({expression})", *arguments)

    def run(self, code: str) -> Any:
        return self.driver.execute_script(code)

    def until(self, expression: str, seconds: float = 30) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.02).until(lambda _: self.js(expression), expression)

    def frame(self) -> None:
        """Wait until what was asked for is drawn."""
        self.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()
        self.frame()

    def choose(self, selector: str, value: str) -> None:
        self.driver.find_element("css selector", f'{selector} option[value="{value}"]').click()
        self.frame()

    def keys(self, selector: str, *keys: str) -> None:
        self.driver.find_element("css selector", selector).send_keys(*keys)
        self.frame()

    def text(self, selector: str) -> str:
        return str(self.js("document.querySelector(arguments[0]).textContent", selector))

    def filter(self, text: str) -> None:
        """Put a filter into its field, as Enter would."""
        code = (
            "const f = document.getElementById('filter'); f.value = arguments[0]; f.dispatchEvent(new Event('change'))"
        )
        self.driver.execute_script(code, text)

    def saved(self, selector: str) -> str:
        """The text that a button gives to be saved."""
        self.run(
            "window.saved = []; const keep = URL.createObjectURL;"
            "URL.createObjectURL = (blob) => (window.saved.push(blob), keep(blob))"
        )
        self.click(selector)
        return str(self.run("return window.saved[0].text()"))

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at `start`, in pixels from an element's corner, and let go at `end`; a click where they are one."""
        left, top = self.js(
            "(r => [r.left, r.top])(document.querySelector(arguments[0]).getBoundingClientRect())", selector
        )
        for kind, (x, y), buttons in (
            ("Moved", start, 0),
            ("Pressed", start, 1),
            ("Moved", end, 1),
            ("Released", end, 0),
        ):
            self.cdp(
                "Input.dispatchMouseEvent",
                type=f"mouse{kind}",
                x=left + x,
                y=top + y,
                button="left",
                buttons=buttons,
                clickCount=1,
            )
        self.frame()

    def complaints(self) -> list[str]:
        """What the console holds since the last call: errors, and what the page's policy forbade."""
        said = [e["message"] for e in self.driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
        return [message for message in said if "willReadFrequently" not in message]  # these tests read the pictures


def pixels(page: Browser, canvas: str) -> list[int]:
    """How many pixels are drawn, how many colours there are, and a sum that any change of the picture changes."""
    page.frame()
    code = """
        const canvas = document.querySelector(arguments[0]);
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const colours = new Set();
        let [drawn, sum] = [0, 0];
        for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] > 0) { drawn++; colours.add(data[i] * 65536 + data[i + 1] * 256 + data[i + 2]); }
            sum = (sum * 31 + data[i] + data[i + 1] + data[i + 2] + data[i + 3]) % 1000000007;
        }
        return [drawn, colours.size, sum];"""
    return list(page.driver.execute_script(code, canvas))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Chromium with a fresh profile in `folder` and the network off; the test is skipped where there is none."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    driver_path = shutil.which("chromedriver")
    if not found or not driver_path:
        pytest.skip("no chromium with chromedriver here: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    try:
        driver.execute_cdp_cmd("Network.enable", {})
        nothing = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", nothing)
        yield Browser(driver)
    finally:
        driver.quit()
